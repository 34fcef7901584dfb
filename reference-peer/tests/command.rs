//! The command `duplex` as a shell sees it: output, exit codes, and what it says when something is wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

/// The command. Tests of the library are built without its feature: cargo names a path for it, and puts nothing there.
static DUPLEX: LazyLock<String> = LazyLock::new(|| {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--bin", "duplex", "--features", "cli", "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo");
    assert!(built.status.success(), "the command can be built");
    let messages = String::from_utf8(built.stdout).expect("text");
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let path = messages.find_map(|message| message["executable"].as_str().map(str::to_owned));
    path.expect("cargo names the executable that it built")
});

/// What a run left behind.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(arguments: &[&str], input: &str) -> Done {
    let mut child = Command::new(&*DUPLEX)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command");
    // A command that reads nothing may be gone already.
    _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A command that listens; killed at the end of the test.
struct Listening {
    child: Child,
    address: String,
}

impl Listening {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            Command::new(&*DUPLEX).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command");
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("not listening: {line}")).to_owned();
        Self { child, address }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The demo peer over standard streams.
fn demo() -> String {
    format!("exec:'{}' serve stdio:", *DUPLEX)
}

#[test]
fn results_are_lines_of_json() {
    let calls: [(&[&str], &str, &str); 8] = [
        (&["add", "[1, 2]"], "", "3\n"),
        (&["count", "3"], "", "1\n2\n3\n"),
        (&["echo", "1", "\"b\"", "-2"], "", "1\n\"b\"\n-2\n"),
        (&["echo", "0", "-"], "1\n\n{\"a\": null}\n", "0\n1\n{\"a\":null}\n"),
        (
            &["--callback", "alarm", r#"{"after":0,"text":"up","call":"@callback"}"#],
            "",
            "{\"callback\":\"up\"}\n{\"answered\":null}\n",
        ),
        (&["--notify", "add", "[1, 2]"], "", ""),
        // The dialogue of the book's pattern, and the same for people.
        (
            &["shell", r#"{"rows":24,"cols":80}"#, r#"{"keys":"ls\n"}"#, r#"{"rows":40,"cols":120}"#, r#"{"keys":"exit\n"}"#],
            "",
            "\"$ \"\n\"notes.txt\\n$ \"\n{\"status\":0}\n",
        ),
        (&["--terminal", "shell"], "size\nexit 3\n", "$ 24 rows, 80 columns\n$ {\"status\":3}\n"),
    ];
    let tcp = Listening::start(&["serve", "tcp://127.0.0.1:0"]);
    let websocket = Listening::start(&["serve", "ws://127.0.0.1:0/rpc"]);
    for address in [&demo(), &tcp.address, &websocket.address] {
        for codec in ["json", "msgpack"] {
            for (arguments, input, expected) in &calls {
                let (options, rest) = if arguments[0].starts_with("--") { arguments.split_at(1) } else { arguments.split_at(0) };
                let all = [&["call", "--codec", codec], options, &[address], rest].concat();
                let done = run(&all, input);
                assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), *expected, ""), "{all:?}");
            }
        }
    }
}

#[test]
fn a_terminal_takes_keys_however_they_are_cut() {
    let long = "x".repeat(3000);
    let cases: [(&[&str], &str, u8); 8] = [
        (&["ls\n", "exit\n"], "notes.txt\n$ ", 0),
        (&["ec", "ho a  b", "\r", "exit 3\n"], "a  b\n$ ", 3),
        (&["lx\u{7f}s\n", "\u{4}"], "notes.txt\n$ ", 0),
        (&["cat notes.txt\ncat x\nexit\n"], "milk\ntea\n$ cat: there is no `x`; `ls` shows the files\n$ ", 0),
        (&["exit 256\n", "exit 255\nls\n"], "exit: the status has to be a number up to 255\n$ ", 255),
        (&["rm\u{3}ls\u{4}\n", "exit\n"], "\n$ notes.txt\n$ ", 0),
        // Nothing keeps a line that never ends.
        (&[&format!("echo {long}\n"), "exit\n"], &format!("{}\n$ ", &long[..1019]), 0),
        // Who hangs up has left.
        (&["ls"], "", 0),
    ];
    let demo = demo();
    for (keys, shown, status) in cases {
        let keys = keys.iter().map(|keys| json!({ "keys": keys }).to_string());
        let input = [json!({ "rows": 24, "cols": 80 }).to_string()].into_iter().chain(keys).collect::<Vec<_>>().join("\n");
        let done = run(&["call", &demo, "shell", "-"], &input);
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
        let mut lines: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.pop(), Some(json!({ "status": status })));
        let text: String = lines.iter().filter_map(Value::as_str).collect();
        assert_eq!(text, format!("$ {shown}"));
    }
}

#[test]
fn exit_codes_say_who_is_to_blame() {
    let demo = demo();
    let remote = run(&["call", &demo, "nope"], "");
    let error: Value = serde_json::from_str(&remote.err).expect("JSON");
    assert_eq!((remote.code, &error["code"]), (Some(1), &json!(-32601)));

    let cases: [(&[&str], &str, i32, &str); 17] = [
        (&["call", &demo, "add", "[1,"], "", 2, "argument 1 is no JSON"),
        (&["call", &demo, "--terminal", "shell", "1"], "", 2, "'--terminal' cannot be used with"),
        (&["call", &demo, "shell", "5"], "", 1, "-32602"),
        (&["call", &demo, "echo", "-"], "1\nx\n", 2, "line 2 of standard input is no JSON"),
        (&["call", &demo, "--ext", "1", "add"], "", 2, "--ext has to be a JSON object"),
        (&["describe", "--ext", "auth", &demo], "", 2, "--ext has to be a JSON object"),
        (&["call", "nowhere", "add"], "", 2, "it has to be tcp://host:port"),
        (&["call", "--codec", "msgpack", "--framing", "newline", &demo, "add"], "", 2, "newline framing carries text only"),
        (&["call", "--timeout", "-1", &demo, "add"], "", 2, "a number of seconds that is not negative"),
        (&["call", "--timeout", "NaN", &demo, "add"], "", 2, "a number of seconds that is not negative"),
        (&["call", &demo, "echo", "-", "1"], "", 2, "has to be the last argument"),
        (&["call", "--notify", "--callback", &demo, "add"], "", 2, "cannot be used with"),
        (&["serve", "exec:x"], "", 2, "nobody can listen on an address of this kind"),
        (&["call", "exec:/no/such/program", "add"], "", 3, "/no/such/program"),
        (&["call", "unix:/no/such/socket", "add"], "", 3, "unix:/no/such/socket: "),
        (&["call", "--timeout", "3", &demo, "alarm", r#"{"after":60,"call":"c"}"#], "", 4, "no reply within the time"),
        (&["call", "--framing", "newline", &demo, "add"], "", 3, "is --framing right?"),
    ];
    for (arguments, input, code, text) in cases {
        let done = run(arguments, input);
        assert_eq!(done.code, Some(code), "{arguments:?}: {}", done.err);
        assert!(done.err.contains(text), "{arguments:?}: {}", done.err);
    }
}

#[test]
fn what_was_sent_before_a_mistake_is_answered() {
    let done = run(&["call", &demo(), "echo", "-"], "1\n2\nx\n");
    assert_eq!((done.code, done.out.as_str()), (Some(2), "1\n2\n"));
    assert!(done.err.contains("line 3 of standard input is no JSON"), "{}", done.err);
}

#[test]
fn output_that_nobody_reads_is_no_complaint() {
    let mut child = Command::new(&*DUPLEX)
        .args(["call", &demo(), "count", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command");
    drop(child.stdout.take());
    let done = child.wait_with_output().expect("an end");
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn a_server_that_is_told_to_end_leaves_no_socket_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("demo.sock");
    // It is told as soon as it listens, and after it has served.
    for calls in [0, 0, 0, 0, 1] {
        let mut server = Listening::start(&["serve", &format!("unix:{}", path.display())]);
        for _ in 0..calls {
            assert_eq!(run(&["call", &server.address, "add", "[1, 2]"], "").out, "3\n");
        }
        let told = Command::new("kill").arg(server.child.id().to_string()).status().expect("kill");
        assert_eq!((told.success(), server.child.wait().expect("an end").code()), (true, Some(0)));
        assert!(!path.exists());
    }
}

#[cfg(unix)]
#[test]
fn a_program_that_was_started_ends_with_a_command_that_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let ready = folder.path().join("ready");
    let peer = format!(r#"exec:sh -c "touch '{}'; sleep 3; echo alive >&2""#, ready.display());
    let mut child = Command::new(&*DUPLEX)
        .args(["call", &peer, "add"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command");
    while !ready.exists() {
        std::thread::yield_now();
    }
    let asked = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
    assert_eq!((asked.success(), child.wait().expect("an end").code()), (true, Some(143)));
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(said, "");
}

#[cfg(unix)]
#[test]
fn a_peer_that_refuses_or_leaves_has_its_own_exit_code() {
    let refused = run(&["call", "--framing", "newline", r#"exec:sh -c "read greeting; echo '-ERR unknown codec'""#, "add"], "");
    assert_eq!(refused.code, Some(3));
    assert!(refused.err.contains("-ERR unknown codec"), "{}", refused.err);
    let silent =
        run(&["call", "--timeout", "0.1", "--framing", "newline", r#"exec:sh -c "read greeting; read more""#, "add"], "");
    assert_eq!(silent.code, Some(3));
    assert!(silent.err.contains("no connection and no greeting within the time"), "{}", silent.err);
    let left = run(&["call", "--framing", "newline", r#"exec:sh -c "read greeting; echo +OK; read call""#, "add"], "");
    assert_eq!(left.code, Some(4));
    assert!(left.err.contains("the connection is closed: closed by the other peer"), "{}", left.err);
    let strays = r#"exec:sh -c "read greeting; echo +OK; read call; echo '[]'; read more""#;
    let strayed = run(&["call", "--framing", "newline", strays, "add"], "");
    assert_eq!(strayed.code, Some(4));
    assert!(strayed.err.contains("the other peer sent what is no message"), "{}", strayed.err);
}

#[test]
fn a_description_is_asked_for_and_its_absence_is_said() {
    let done = run(&["describe", &demo()], "");
    let description: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(description["methods"]["count"]["streams"], json!({ "arguments": false, "results": true }));
    for (name, method) in description["methods"].as_object().expect("methods") {
        let schemas = [&method["takes"], &method["gives"]];
        assert!(schemas.iter().all(|schema| schema.is_object() || **schema == json!(true)), "{name}: {method}");
    }
}

#[cfg(unix)]
#[test]
fn a_peer_that_does_not_describe_itself_or_dies_of_the_question_is_told_from_others() {
    let missing = r#"{\"type\":\"rep\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no\"}}"#;
    let answers = format!(r#"exec:sh -c "read greeting; echo +OK; read call; echo '{missing}'; read more""#);
    let dies = r#"exec:sh -c "read greeting; echo +OK; read call""#;
    for peer in [answers.as_str(), dies] {
        let done = run(&["describe", "--framing", "newline", peer], "");
        assert_eq!(done.code, Some(4), "{}", done.err);
        assert!(done.err.contains("does not describe itself"), "{}", done.err);
    }
}

#[test]
fn a_program_that_a_host_starts_can_be_traced() {
    let done = run(&["call", &format!(r#"exec:'{}' trace stdio: "{}""#, *DUPLEX, demo()), "add", "[1, 2]"], "");
    assert_eq!((done.code, done.out.as_str()), (Some(0), "3\n"));
    let shown = "-> SIMPLEX/1.0;json\n<- +OK\n-> {\"type\":\"req\",\"id\":1,\"method\":\"add\",\"payload\":[1,2]}\n";
    assert!(done.err.starts_with(shown), "{}", done.err);
}

#[test]
fn a_trace_saves_what_is_no_whole_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("session.jsonl");
    let path = file.to_str().expect("a path of text");
    let mut trace = Listening::start(&["trace", "--once", "--save", path, "tcp://127.0.0.1:0", &demo()]);
    let address = trace.address.strip_prefix("tcp://").expect("what was asked for");
    let mut dialled = std::net::TcpStream::connect(address).expect("a connection");
    dialled.write_all(b"\0\0\0\x09abc").expect("what a buffer holds");
    drop(dialled);
    trace.child.wait().expect("an end");
    let saved = std::fs::read_to_string(&file).expect("the file");
    let first: Value = serde_json::from_str(saved.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["base64"], &first["from"]), (&json!("AAAACWFiYw=="), &json!("initiator")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_trace_passes_on_what_it_cannot_save() {
    let mut trace = Listening::start(&["trace", "--once", "--save", "/dev/full", "tcp://127.0.0.1:0", &demo()]);
    assert_eq!(run(&["call", &trace.address, "add", "[1,2]"], "").out, "3\n");
    assert!(trace.child.wait().expect("an end").success());
}

#[test]
fn a_trace_shows_and_saves_the_dialogue() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("session.jsonl");
    let file = file.to_str().expect("a path of text");
    for codec in ["json", "msgpack"] {
        let mut trace = Listening::start(&["trace", "--once", "--save", file, "ws://127.0.0.1:0", &demo()]);
        let called = run(&["call", "--codec", codec, &trace.address, "add", "[1,2]"], "");
        assert_eq!((called.code, called.out.as_str()), (Some(0), "3\n"));
        let mut shown = String::new();
        trace.child.stdout.take().expect("a pipe").read_to_string(&mut shown).expect("text");
        assert!(trace.child.wait().expect("an end").success());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[..2], [format!("-> SIMPLEX/1.0;{codec}").as_str(), "<- +OK"]);
        assert_eq!(lines[2], r#"-> {"type":"req","id":1,"method":"add","payload":[1,2]}"#);
        assert_eq!(lines[3], r#"<- {"type":"rep","id":1,"payload":3,"more":false}"#);
        let saved = std::fs::read_to_string(file).expect("the file");
        let saved: Vec<Value> = saved.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(saved.len(), lines.len());
        assert_eq!(saved[2]["message"]["method"], "add");
        assert_eq!((&saved[3]["from"], &saved[3]["message"]["payload"]), (&json!("acceptor"), &json!(3)));
    }
}
