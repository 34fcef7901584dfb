//! The standard middlewares, end to end: both peers have them, and a call goes three deep over one connection.
//!
//! The client calls `outer` at the server, whose handler calls a callback at the client, whose handler calls `inner` at the
//! server. Each goes through the channel of the call around it, as handlers do, so that ext is inherited. Spans are in `spans.rs`.

use std::future::Future;
use std::time::{Duration, SystemTime};

use duplex_peer::middleware::{Authentication, Deadlines, Identity, Policy, Tracing, Transactions, Unit, UnitName};
use duplex_peer::{BoxError, Call, Channel, Code, Error, Framing, Peer, Raw, Request, Rpc, Transport};
use serde::de::DeserializeOwned;

async fn join(initiator: &Rpc, acceptor: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("two peers of one kind understand each other")
}

fn serve<Fut>(rpc: &Rpc, name: &str, handler: impl Fn(Channel) -> Fut + Send + Sync + 'static)
where
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    rpc.register(name, handler).expect("a free name");
}

/// What a call made from inside another one came to: its result, or the code of the other side's error.
async fn outcome<R: DeserializeOwned>(request: Request) -> Result<Result<R, i64>, BoxError> {
    match request.call::<_, R>(&()).await {
        Ok(result) => Ok(Ok(result)),
        Err(Error::Remote(error)) => Ok(Err(error.code.0)),
        Err(error) => Err(error.into()),
    }
}

const UNAUTHENTICATED: Result<String, i64> = Err(Code::UNAUTHENTICATED.0);
const FORBIDDEN: Result<String, i64> = Err(Code::FORBIDDEN.0);

// ---- authentication and policy ----

/// A judge that believes whoever says it.
fn authentication() -> impl duplex_peer::Hook {
    Authentication::new(|credential: Option<&Raw>, _: &Call| {
        credential?.decode::<String>().ok()?.strip_prefix("key of ").map(str::to_owned)
    })
}

fn identity(channel: &Channel) -> Option<String> {
    channel.shared().and_then(|call| call.value::<Identity<String>>()).map(|Identity(who)| who)
}

#[tokio::test]
async fn a_credential_is_good_for_one_call_and_every_level_shows_its_own() {
    let server = Rpc::new().with_hook(authentication());
    serve(&server, "outer", |mut channel| async move {
        let callback: String = channel.argument().await?;
        // What the caller showed is not shown on.
        let bare = outcome::<String>(channel.request(&callback)).await?;
        let own = channel.request(&callback).ext("auth", "key of server")?;
        let seen: (String, Result<String, i64>, Result<String, i64>) = own.call(&()).await?;
        Ok(channel.send_last(&(identity(&channel), bare, seen)).await?)
    });
    serve(&server, "inner", |channel| async move { Ok(channel.send_last(&identity(&channel)).await?) });
    let (client, _served) = join(&Rpc::new().with_hook(authentication()), &server).await;
    let callback = client.callback(|channel: Channel| async move {
        let bare = outcome::<String>(channel.request("inner")).await?;
        let own = outcome::<String>(channel.request("inner").ext("auth", "key of eve")?).await?;
        Ok(channel.send_last(&(identity(&channel), bare, own)).await?)
    });
    let outer = client.request("outer").ext("auth", "key of ada").expect("text");
    type Seen = (String, Result<String, i64>, (String, Result<String, i64>, Result<String, i64>));
    let seen: Seen = outer.call(&callback).await.expect("what each level saw");
    assert_eq!(seen, ("ada".to_owned(), UNAUTHENTICATED, ("server".to_owned(), UNAUTHENTICATED, Ok("eve".to_owned()))));
}

#[tokio::test]
async fn a_policy_judges_each_level_by_who_asks_there() {
    let only_ada = |frame: &duplex_peer::HookFrame| {
        let who = frame.call().value::<Identity<String>>();
        frame.method() != "inner" || who.is_some_and(|Identity(who)| who == "ada")
    };
    let server = Rpc::new().with_hook(authentication()).with_hook(Policy::new(only_ada));
    serve(&server, "outer", |mut channel| async move {
        let callback: String = channel.argument().await?;
        let mut seen = Vec::new();
        for text in ["forbidden", "fine"] {
            let called = channel.request(&callback).call::<_, Vec<Result<String, i64>>>(&text).await;
            match called {
                Err(Error::Remote(error)) => seen.push(Err(error.code.0)),
                called => seen.extend(called?),
            }
        }
        Ok(channel.send_last(&seen).await?)
    });
    serve(&server, "inner", |channel| async move { Ok(channel.send_last(&identity(&channel)).await?) });
    // The client lets itself be called with anything but this.
    let client = Rpc::new().with_hook(Policy::new(|frame| frame.payload.decode::<String>().ok().as_deref() != Some("forbidden")));
    let (client, _served) = join(&client, &server).await;
    let callback = client.callback(|channel: Channel| async move {
        let mut seen: Vec<Result<String, i64>> = Vec::new();
        for who in ["key of eve", "key of ada"] {
            seen.push(outcome(channel.request("inner").ext("auth", who)?).await?);
        }
        Ok(channel.send_last(&seen).await?)
    });
    let outer = client.request("outer").ext("auth", "key of eve").expect("text");
    let seen: Vec<Result<String, i64>> = outer.call(&callback).await.expect("what each level saw");
    assert_eq!(seen, [FORBIDDEN, FORBIDDEN, Ok("ada".to_owned())]);
}

// ---- deadlines ----

fn millis(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis()).expect("a near time")
}

fn deadline(channel: &Channel) -> Result<i64, BoxError> {
    Ok(channel.ext().and_then(|ext| ext.value::<i64>("deadline")).ok_or("no deadline")??)
}

#[tokio::test]
async fn a_deadline_only_gets_earlier_on_the_way_down() {
    let now = SystemTime::now();
    let [minute, hour, day] = [60, 3600, 86400].map(|seconds| now + Duration::from_secs(seconds));
    let server = Rpc::new().with_hook(Deadlines::new());
    serve(&server, "outer", move |mut channel| async move {
        let callback: String = channel.argument().await?;
        // Asked for later than the call itself has: it stays.
        let below: Vec<Result<i64, i64>> = channel.request(&callback).deadline(day)?.call(&()).await?;
        Ok(channel.send_last(&(deadline(&channel)?, below)).await?)
    });
    serve(&server, "inner", |channel| async move { Ok(channel.send_last(&deadline(&channel)?).await?) });
    let (client, _served) = join(&Rpc::new().with_hook(Deadlines::new()), &server).await;
    let callback = client.callback(move |channel: Channel| async move {
        let earlier = outcome(channel.request("inner").deadline(minute)?).await?;
        let inherited = outcome(channel.request("inner")).await?;
        // Past: what is under it is refused, and nothing around it.
        let passed = outcome(channel.request("inner").ext("deadline", &1)?).await?;
        Ok(channel.send_last(&[Ok(deadline(&channel)?), earlier, inherited, passed]).await?)
    });
    let outer = client.request("outer").deadline(hour).expect("a number");
    let seen: (i64, Vec<Result<i64, i64>>) = outer.call(&callback).await.expect("what each level saw");
    let hour = millis(hour);
    assert_eq!(seen, (hour, vec![Ok(hour), Ok(millis(minute)), Ok(hour), Err(Code::DEADLINE_PASSED.0)]));
}

// ---- transactions ----

fn unit(channel: &Channel) -> Result<Unit<Vec<String>>, BoxError> {
    Ok(channel.shared().and_then(|call| call.value()).ok_or("no unit")?)
}

#[tokio::test]
async fn a_unit_of_work_comes_back_through_the_callback() {
    let server = Rpc::new().with_hook(Transactions::new(|_| Vec::<String>::new()));
    serve(&server, "outer", |mut channel| async move {
        let callback: String = channel.argument().await?;
        let unit = unit(&channel)?;
        unit.with(|work| work.push("outer".to_owned())).ok_or("ended")?;
        let after_commit: Result<(), i64> = channel.call(&callback, &()).await?;
        // The call below ended the unit: this one has it no more.
        Ok(channel.send_last(&(after_commit, unit.is_ended())).await?)
    });
    serve(&server, "inner", |channel| async move {
        unit(&channel)?.with(|work| work.push("inner".to_owned())).ok_or("ended")?;
        Ok(channel.send_last(&()).await?)
    });
    serve(&server, "commit", |channel| async move { Ok(channel.send_last(&unit(&channel)?.end().ok_or("ended")?).await?) });
    let (client, _served) = join(&Rpc::new(), &server).await;
    let callback = client.callback(|channel: Channel| async move {
        channel.call::<_, ()>("inner", &()).await?;
        // Another unit on the same connection, from the inside of the first.
        let apart = UnitName::new();
        channel.request("inner").transaction(&apart)?.call::<_, ()>(&()).await?;
        let other: Vec<String> = channel.request("commit").transaction(&apart)?.call(&()).await?;
        assert_eq!(other, ["inner"]);
        let work: Vec<String> = channel.call("commit", &()).await?;
        assert_eq!(work, ["outer", "inner"]);
        Ok(channel.send_last(&outcome::<()>(channel.request("inner")).await?).await?)
    });
    let outer = client.request("outer").transaction(&UnitName::new()).expect("text");
    let seen: (Result<(), i64>, bool) = outer.call(&callback).await.expect("what was left");
    assert_eq!(seen, (Err(Code::FAILED.0), true));
}

// ---- all of them ----

#[tokio::test]
async fn all_five_keep_out_of_each_others_way() {
    let standard = || {
        Rpc::new()
            .with_hook(Tracing::new())
            .with_hook(authentication())
            .with_hook(Policy::new(|frame| frame.method() != "admin"))
            .with_hook(Deadlines::new().ending_calls())
            .with_hook(Transactions::new(|_| Vec::<String>::new()))
    };
    let server = standard();
    serve(&server, "outer", |mut channel| async move {
        let callback: String = channel.argument().await?;
        let seen: Vec<Result<Vec<String>, i64>> = channel.request(&callback).ext("auth", "key of server")?.call(&()).await?;
        Ok(channel.send_last(&seen).await?)
    });
    serve(&server, "keys", |channel| async move {
        let mut keys = channel.ext().map(|ext| ext.keys()).unwrap_or_default();
        keys.sort();
        Ok(channel.send_last(&keys).await?)
    });
    let (client, served) = join(&standard(), &server).await;
    let callback = client.callback(|channel: Channel| async move {
        let with = |method: &str| channel.request(method).ext("auth", "key of ada");
        let seen: [Result<Vec<String>, i64>; 3] =
            [outcome(with("keys")?).await?, outcome(channel.request("keys")).await?, outcome(with("admin")?).await?];
        Ok(channel.send_last(&seen).await?)
    });
    let hour = SystemTime::now() + Duration::from_secs(3600);
    let outer = client.request("outer").deadline(hour).and_then(|request| request.transaction(&UnitName::new()));
    let outer = outer.and_then(|request| request.ext("auth", "key of ada")).expect("text and a number");
    let seen: Vec<Result<Vec<String>, i64>> = outer.call(&callback).await.expect("what the innermost saw");
    let keys = ["deadline", "trace", "transaction"].map(str::to_owned).to_vec();
    assert_eq!(seen, [Ok(keys), Err(Code::UNAUTHENTICATED.0), Err(Code::FORBIDDEN.0)]);
    assert_eq!((client.counts().outgoing, served.counts().outgoing), (0, 0));
}
