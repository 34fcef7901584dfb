//! The standard middlewares, each across a call whose handler calls back: what the inner call shows of the outer one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use duplex_peer::middleware::{Authentication, Deadlines, Identity, Policy, TraceContext, Tracing, Transactions, Unit, UnitName};
use duplex_peer::{BoxError, Channel, Code, Error, Ext, Framing, Hook, Peer, Raw, Rpc, Transport};
use tokio::sync::mpsc;

async fn join(initiator: &Rpc, acceptor: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("two peers of one kind understand each other")
}

/// A peer with one hook whose method `apply` calls back, and whose method `effect` leaves a trace.
fn server(hook: impl Hook) -> (Rpc, mpsc::UnboundedReceiver<&'static str>) {
    let (told, hears) = mpsc::unbounded_channel();
    let rpc = Rpc::new().with_hook(hook);
    rpc.register("apply", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let seen: Raw = channel.request(&callback).call_raw(&Raw::null(channel.format())).await?;
        Ok(channel.send_raw(&seen, false).await?)
    })
    .expect("a free name");
    rpc.register_fn("effect", move |(): ()| {
        let sent = told.send("ran");
        async move { sent }
    })
    .expect("a free name");
    (rpc, hears)
}

/// Calls `apply` with this ext; gives the ext that the callback was called with, and that of the reply.
async fn inner_and_outer(client: &Peer, ext: &[(&str, &str)]) -> (Option<Ext>, Option<Ext>) {
    let seen: Arc<Mutex<Option<Ext>>> = Arc::default();
    let callback = client.callback({
        let seen = Arc::clone(&seen);
        move |channel: Channel| {
            *seen.lock().expect("no panic") = channel.ext();
            async move { Ok(channel.send_last(&()).await?) }
        }
    });
    let mut request = client.request("apply");
    for (key, value) in ext {
        request = request.ext(key, value).expect("a string can be encoded");
    }
    let mut channel = request.open();
    channel.send_last(&callback).await.expect("an open connection");
    channel.result().await.expect("what the callback says");
    let inner = seen.lock().expect("no panic").clone();
    (inner, channel.ext())
}

fn text(ext: Option<&Ext>, key: &str) -> Option<String> {
    ext?.value::<String>(key)?.ok()
}

fn code(result: Result<(), Error>) -> Option<Code> {
    match result {
        Err(Error::Remote(error)) => Some(error.code),
        _ => None,
    }
}

#[tokio::test]
async fn a_trace_goes_on_through_handlers_and_callbacks() {
    let (rpc, _) = server(Tracing::new());
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let came = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let (inner, outer) = inner_and_outer(&client, &[("trace", came)]).await;
    let context = |ext: Option<&Ext>| text(ext, "trace").expect("a trace").parse::<TraceContext>().expect("a traceparent");
    let (came, inner, outer) = (came.parse::<TraceContext>().expect("one"), context(inner.as_ref()), context(outer.as_ref()));
    assert!(inner.trace_id() == came.trace_id() && outer.trace_id() == came.trace_id());
    assert!(inner.flags() == 0 && outer.flags() == 0);
    let spans = [came.span_id(), inner.span_id(), outer.span_id()];
    assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2]);
    // Without a trace, and with none that counts, one begins.
    for ext in [&[][..], &[("trace", "00-x")][..]] {
        let (inner, outer) = inner_and_outer(&client, ext).await;
        assert_eq!(context(inner.as_ref()).trace_id(), context(outer.as_ref()).trace_id());
        assert_eq!(context(inner.as_ref()).flags(), 1);
    }
}

#[tokio::test]
async fn a_credential_ends_at_the_provider() {
    let judge = |credential: Option<&Raw>, _: &_| credential?.decode::<String>().ok()?.strip_prefix("key of ").map(str::to_owned);
    let (rpc, mut hears) = server(Authentication::new(judge));
    rpc.register("whoami", |mut channel: Channel| async move {
        while channel.recv::<()>().await?.is_some() {}
        let who = channel.shared().and_then(|call| call.value::<Identity<String>>());
        Ok(channel.send_last(&who.map(|Identity(who)| who)).await?)
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let (inner, outer) = inner_and_outer(&client, &[("auth", "key of ada"), ("tag", "x")]).await;
    for ext in [inner, outer] {
        assert_eq!(text(ext.as_ref(), "auth"), None);
        assert_eq!(text(ext.as_ref(), "tag").as_deref(), Some("x"));
    }
    let who: String = client.request("whoami").ext("auth", "key of eve").expect("text").call(&()).await.expect("a name");
    assert_eq!(who, "eve");
    assert_eq!(code(client.call("effect", &()).await), Some(Code::UNAUTHENTICATED));
    assert_eq!(code(client.call("missing", &()).await), Some(Code::UNAUTHENTICATED));
    client.request("effect").ext("auth", "key of ada").expect("text").call::<_, ()>(&()).await.expect("a call that may run");
    assert_eq!(hears.recv().await, Some("ran"));
    assert!(hears.try_recv().is_err(), "the refused call did not run");
}

#[tokio::test]
async fn a_policy_sees_payloads_of_later_frames() {
    let (rpc, mut hears) = server(Policy::new(|frame| {
        frame.method() != "hidden" && frame.payload.decode::<String>().ok().as_deref() != Some("forbidden")
    }));
    rpc.register("join", |mut channel: Channel| async move {
        let mut all = String::new();
        while let Some(text) = channel.recv::<String>().await? {
            all.push_str(&text);
        }
        Ok(channel.send_last(&all).await?)
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    assert_eq!(code(client.call("hidden", &()).await), Some(Code::FORBIDDEN));
    let mut channel = client.open("join");
    channel.send("a").await.expect("open");
    channel.send("forbidden").await.expect("open");
    let ended = channel.recv::<String>().await;
    assert!(matches!(ended, Err(Error::Remote(error)) if error.code == Code::FORBIDDEN));
    assert_eq!(code(client.call("effect", "forbidden").await), Some(Code::FORBIDDEN));
    assert!(hears.try_recv().is_err(), "the refused call did not run");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_what_runs_and_is_inherited() {
    let (rpc, mut hears) = server(Deadlines::new().ending_calls());
    rpc.register("never", |_channel: Channel| std::future::pending()).expect("a free name");
    rpc.register("later", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let year = SystemTime::now() + Duration::from_secs(365 * 24 * 3600);
        let seen: i64 = channel.request(&callback).deadline(year)?.call(&()).await?;
        Ok(channel.send_last(&seen).await?)
    })
    .expect("a free name");
    let (client, served) = join(&Rpc::new(), &rpc).await;
    assert_eq!(
        code(client.request("effect").ext("deadline", &1).expect("a number").call(&()).await),
        Some(Code::DEADLINE_PASSED)
    );
    assert!(hears.try_recv().is_err(), "the refused call did not run");
    for odd in [r#""1""#, "1.5", "null", "[1]"] {
        let value: serde_json::Value = serde_json::from_str(odd).expect("JSON");
        client.request("effect").ext("deadline", &value).expect("JSON").call::<_, ()>(&()).await.expect("no deadline");
    }
    let hour = SystemTime::now() + Duration::from_secs(3600);
    let callback = client.callback(|channel: Channel| async move {
        let deadline = channel.ext().and_then(|ext| ext.value::<i64>("deadline")).ok_or("no deadline")??;
        Ok(channel.send_last(&deadline).await?)
    });
    let seen: i64 = client.request("later").deadline(hour).expect("a number").call(&callback).await.expect("what was seen");
    assert_eq!(u128::from(seen.unsigned_abs()), hour.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis());
    // Only the provider keeps this one: its clock is paused, so that the hour passes at once.
    let millis = i64::try_from(hour.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis()).expect("small");
    assert_eq!(
        code(client.request("never").ext("deadline", &millis).expect("a number").call(&()).await),
        Some(Code::DEADLINE_PASSED)
    );
    while served.counts().handlers > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_unit_lasts_as_long_as_its_connection() {
    let (lost, mut hears) = mpsc::unbounded_channel();
    let (rpc, _) = server(Transactions::new(|name| name.to_owned()).on_lost(move |name: String| _ = lost.send(name)));
    rpc.register("commit", |channel: Channel| async move {
        let unit = channel.shared().and_then(|call| call.value::<Unit<String>>()).ok_or("no unit")?;
        Ok(channel.send_last(&unit.end()).await?)
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let (other, _other_served) = join(&Rpc::new(), &rpc).await;
    let name = UnitName::new();
    assert_ne!(name, UnitName::new());
    let (inner, _) = inner_and_outer(&client, &[("transaction", name.as_str())]).await;
    assert_eq!(text(inner.as_ref(), "transaction").as_deref(), Some(name.as_str()));
    let commit = |peer: &Peer| peer.request("commit").transaction(&name).expect("text");
    assert_eq!(commit(&client).call::<_, String>(&()).await.expect("the unit"), name.as_str());
    assert_eq!(code(commit(&client).call(&()).await), Some(Code::FAILED));
    // The same name on another connection is another unit; it is still open when that ends.
    inner_and_outer(&other, &[("transaction", name.as_str())]).await;
    assert!(hears.try_recv().is_err());
    other.close();
    assert_eq!(hears.recv().await.as_deref(), Some(name.as_str()));
    client.close();
    client.closed().await;
    assert!(hears.try_recv().is_err(), "a unit that has ended is not lost");
}

#[tokio::test]
async fn names_of_units_have_an_end_together() {
    let (rpc, _) = server(Transactions::new(|_| ()));
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let mut kept = 0;
    let refused = loop {
        let name = format!("{kept:015000}");
        // Whether there is such a method is asked later.
        match client.request("missing").ext("transaction", &name).expect("a string").call::<_, ()>(&()).await {
            Err(error) if error.code() == Some(Code::METHOD_NOT_FOUND) => kept += 1,
            other => break code(other),
        }
    };
    assert_eq!((refused, kept), (Some(Code::TOO_MANY_CALLS), (4 << 20) / 15_000));
}

#[tokio::test]
async fn they_stand_in_the_order_of_the_book() {
    let seen: Arc<Mutex<Vec<Option<Identity<u8>>>>> = Arc::default();
    let rpc = Rpc::new()
        .with_hook(Tracing::unsampled())
        .with_hook(Authentication::new(|credential: Option<&Raw>, _: &_| credential?.decode::<u8>().ok()))
        .with_hook(Policy::new({
            let seen = Arc::clone(&seen);
            move |frame| {
                seen.lock().expect("no panic").push(frame.call().value());
                false
            }
        }));
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let mut channel = client.request("x").ext("auth", &7).expect("a number").open();
    channel.send_last(&()).await.expect("open");
    assert!(channel.recv::<()>().await.is_err());
    // What is refused is traced, and who asks is known.
    assert!(text(channel.ext().as_ref(), "trace").is_some());
    assert_eq!(*seen.lock().expect("no panic"), [Some(Identity(7))]);
    let boxed: Result<TraceContext, BoxError> = "no".parse().map_err(Into::into);
    assert!(boxed.is_err());
}
