//! The methods that the dialogues of the book call, on the reference peer: small applications that play their part.
//!
//! They bring constants for what a real one would fetch. No protocol stands here, and no frame is written by hand: what goes over
//! the wire is the library's doing, and that is what the dialogues are held for.

use std::sync::Arc;

use duplex_peer::{BoxError, Channel, Code, Error, Hook, HookFrame, RegisterError, RemoteError, Rpc, Verdict};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What the harness asks before each dialogue.
pub(crate) fn description() -> Value {
    json!({
        "contract": 1,
        "name": "book",
        "profiles": ["core"],
        "roles": ["acceptor"],
        "transports": ["tcp"],
        "framings": ["length"],
        "codecs": ["json"],
    })
}

/// All of them, for one connection.
pub(crate) fn rpc() -> Result<Rpc, RegisterError> {
    let rpc = Rpc::new().with_hook(Guard);
    rpc.register_fn("conformance.describe", |_: Value| async { ok(description()) })?;
    rpc.register_fn("conformance.echo", |value: Value| async { ok(value) })?;
    calls(&rpc)?;
    streams(&rpc)?;
    callbacks(&rpc)?;
    answers(&rpc)?;
    Ok(rpc)
}

fn ok(value: Value) -> Result<Value, BoxError> {
    Ok(value)
}

fn calls(rpc: &Rpc) -> Result<(), RegisterError> {
    rpc.register_fn("echo", |value: Value| async { ok(value) })?;
    rpc.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
    rpc.register_fn("double", |n: i64| async move { Ok::<_, BoxError>(2 * n) })?;
    rpc.register_fn("crash", |_: Value| async { Err::<(), BoxError>("s3cret".into()) })?;
    rpc.register_fn("whoami", |_: Value| async { ok(json!("ada")) })?;
    let answered = Arc::new(Notify::new());
    let first = Arc::clone(&answered);
    rpc.register("fast", move |mut channel: Channel| {
        let answered = Arc::clone(&first);
        async move {
            let value: Value = channel.argument().await?;
            channel.send_last(&value).await?;
            answered.notify_one();
            Ok(())
        }
    })?;
    rpc.register("slow", move |mut channel: Channel| {
        let answered = Arc::clone(&answered);
        async move {
            let value: Value = channel.argument().await?;
            answered.notified().await;
            Ok(channel.send_last(&value).await?)
        }
    })?;
    rpc.register("hold", |channel: Channel| async move {
        channel.call::<_, Value>("ask", &()).await?;
        channel.closed().await;
        Err(Error::Closed.into())
    })
}

fn streams(rpc: &Rpc) -> Result<(), RegisterError> {
    rpc.register("count", |mut channel: Channel| async move {
        let asked: Value = channel.argument().await?;
        let n = asked["n"].as_u64().ok_or(RemoteError::of(Code::INVALID_PAYLOAD))?;
        for number in 1..n {
            channel.send(&number).await?;
        }
        Ok(channel.send_last(&n).await?)
    })?;
    rpc.register("sum", |mut channel: Channel| async move {
        let mut total = 0;
        while let Some(number) = channel.recv::<i64>().await? {
            total += number;
        }
        Ok(channel.send_last(&total).await?)
    })?;
    rpc.register("pipe", |mut channel: Channel| async move {
        while let Some(item) = channel.recv::<Value>().await? {
            channel.send(&item).await?;
        }
        Ok(channel.finish().await?)
    })?;
    rpc.register("take", |mut channel: Channel| async move {
        let asked: Option<Value> = channel.recv().await?;
        let n = asked.and_then(|asked| asked["n"].as_u64()).ok_or(RemoteError::of(Code::INVALID_PAYLOAD))?;
        let mut taken: Vec<Value> = Vec::new();
        for _ in 0..n {
            taken.extend(channel.recv::<Value>().await?);
        }
        Ok(channel.send_last(&taken).await?)
    })?;
    rpc.register("todo.follow", |mut channel: Channel| async move {
        _ = channel.argument::<Value>().await?;
        channel.send(&json!({"at": 7, "whole": ["milk", "tea"]})).await?;
        channel.send(&json!({"at": 8, "add": "bread"})).await?;
        channel.send(&json!({"at": 9, "remove": "milk"})).await?;
        channel.closed().await;
        Err(Error::Closed.into())
    })?;
    rpc.register("shell", |mut channel: Channel| async move {
        while let Some(item) = channel.recv::<Value>().await? {
            match item["keys"].as_str() {
                Some("exit\n") => return Ok(channel.send_last(&json!({"status": 0})).await?),
                Some(_) => channel.send("notes.txt\n$ ").await?,
                None if item["rows"] == 24 => channel.send("$ ").await?,
                None => {}
            }
        }
        Ok(())
    })?;
    rpc.register("tcp.connect", |mut channel: Channel| async move {
        _ = channel.recv::<Value>().await?;
        channel.send("").await?;
        while channel.recv::<String>().await?.is_some() {
            channel.send("Tg==").await?;
        }
        Ok(channel.finish().await?)
    })
}

fn callbacks(rpc: &Rpc) -> Result<(), RegisterError> {
    rpc.register("sort", |mut channel: Channel| async move {
        let asked: Value = channel.argument().await?;
        let (mut items, less) = (asked["items"].as_array().cloned().unwrap_or_default(), text(&asked["less"])?);
        for end in (1..items.len()).rev() {
            for at in 0..end {
                if !channel.call::<_, bool>(less, &(&items[at], &items[at + 1])).await? {
                    items.swap(at, at + 1);
                }
            }
        }
        Ok(channel.send_last(&items).await?)
    })?;
    rpc.register("twice", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let once: i64 = channel.call(&callback, &1).await?;
        Ok(channel.send_last(&once).await?)
    })?;
    rpc.register("watch", |mut channel: Channel| async move {
        let asked: Value = channel.argument().await?;
        channel.send_last(&()).await?;
        for value in ["first", "second"] {
            channel.call::<_, Value>(text(&asked["on_change"])?, value).await?;
        }
        Ok(())
    })?;
    rpc.register("worker.ready", |channel: Channel| async move {
        channel.send_last(&()).await?;
        let mut built = channel.open("build");
        built.send_last(&json!({"commit": "4f2a"})).await?;
        while built.recv::<Value>().await?.is_some() {}
        Ok(())
    })?;
    rpc.register("render", |mut channel: Channel| async move {
        let asked: Value = channel.argument().await?;
        channel.send_last(&json!({"job": "j-41"})).await?;
        channel.call::<_, Value>(text(&asked["done"])?, &json!({"job": "j-41", "url": "/films/7"})).await?;
        Ok(())
    })?;
    rpc.register("events.subscribe", |mut channel: Channel| async move {
        let asked: Value = channel.argument().await?;
        channel.send_last(&json!({"subscription": 3})).await?;
        channel.call::<_, Value>(text(&asked["to"])?, &json!({"door": "open"})).await?;
        Ok(())
    })?;
    rpc.register("plugin.start", |mut channel: Channel| async move {
        _ = channel.argument::<Value>().await?;
        let sort = channel.callback_fn(|mut lines: Vec<String>| async move {
            lines.sort();
            Ok::<_, BoxError>(lines)
        });
        channel.call::<_, Value>("editor.register_command", &json!({"name": "sort lines", "run": sort.name()})).await?;
        sort.keep();
        Ok(channel.send_last(&json!({"name": "sorter", "version": "1.0"})).await?)
    })
}

fn text(value: &Value) -> Result<&str, RemoteError> {
    value.as_str().ok_or_else(|| RemoteError::of(Code::INVALID_PAYLOAD))
}

/// Methods that only answer.
fn answers(rpc: &Rpc) -> Result<(), RegisterError> {
    rpc.register_fn("events.unsubscribe", |_: Value| async { ok(Value::Null) })?;
    rpc.register_fn("login", |_: Value| async { ok(json!({"until": 1_767_225_600_000_u64})) })?;
    rpc.register_fn("reflect.methods", |_: Value| async { ok(json!(["add", "todo.follow", "reflect.methods"])) })?;
    rpc.register_fn("reflect.describe", |_: Value| async {
        ok(json!({
            "doc": "The sum of two numbers.",
            "takes": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            "gives": {"type": "number"},
            "streams": {"arguments": false, "results": false},
        }))
    })
}

/// Asks for a credential where one is due, and lets nobody reset anything.
struct Guard;

impl Hook for Guard {
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        if frame.method().starts_with("admin.") {
            return Ok(Verdict::AnswerError(RemoteError::of(Code::FORBIDDEN)));
        }
        if frame.method() != "whoami" {
            return Ok(Verdict::Pass);
        }
        let credential = frame.ext.as_ref().and_then(|ext| ext.value::<String>("auth")?.ok());
        if let Some(ext) = &mut frame.ext {
            ext.remove("auth");
        }
        // An empty ext is an ext, too, and would be on the reply.
        frame.ext = frame.ext.take().filter(|ext| !ext.keys().is_empty());
        let is_known = credential.is_some_and(|credential| credential == "Bearer 3f9a");
        Ok(if is_known { Verdict::Pass } else { Verdict::AnswerError(RemoteError::of(Code::UNAUTHENTICATED)) })
    }
}
