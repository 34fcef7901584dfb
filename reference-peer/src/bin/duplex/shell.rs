//! The terminal of the demo peer: keys in, output out, on one call, as the book's pattern has it.
//!
//! It is a shell of its own, with files that are not there and no programs at all: whoever can reach a demo must not reach the
//! machine that it runs on.

use duplex_peer::{Channel, RegisterError, Rpc};
use serde::Deserialize;
use serde_json::json;

const PROMPT: &str = "$ ";
/// A line that is longer is cut: whoever holds a key down must not fill the memory.
const MAX_LINE: usize = 1024;
const FILES: [(&str, &str); 1] = [("notes.txt", "milk\ntea\n")];
const HELP: &str = "\
cat FILE       show a file
echo TEXT      say it again
exit [STATUS]  leave
help           this
ls             the files
size           the size of the window
";

/// What is typed: keys, or a new size of the window. One stream carries both, since their order matters.
#[derive(Deserialize)]
#[serde(untagged)]
enum Typed {
    Keys { keys: String },
    Size(Size),
}

#[derive(Clone, Copy, Deserialize)]
struct Size {
    rows: u16,
    cols: u16,
}

struct Shell {
    size: Size,
    line: String,
}

/// What became of some keys.
#[derive(Default)]
struct Shown {
    output: String,
    /// Set once the shell is left.
    status: Option<u8>,
}

pub(crate) fn register(rpc: &Rpc) -> Result<(), RegisterError> {
    rpc.register("shell", |mut channel: Channel| async move {
        let mut shell = Shell { size: channel.argument().await?, line: String::new() };
        channel.send(PROMPT).await?;
        while let Some(typed) = channel.recv().await? {
            match typed {
                Typed::Size(size) => shell.size = size,
                Typed::Keys { keys } => {
                    let Shown { output, status } = shell.take(&keys);
                    if !output.is_empty() {
                        channel.send(&output).await?;
                    }
                    if let Some(status) = status {
                        return Ok(channel.send_last(&json!({ "status": status })).await?);
                    }
                }
            }
        }
        // Who hangs up has left.
        Ok(channel.send_last(&json!({ "status": 0 })).await?)
    })
}

impl Shell {
    fn take(&mut self, keys: &str) -> Shown {
        let mut shown = Shown::default();
        for key in keys.chars() {
            match key {
                '\n' | '\r' => {
                    let line = std::mem::take(&mut self.line);
                    shown.status = self.run(&line, &mut shown.output);
                }
                // End of input, as Control-D sends it, counts on an empty line only.
                '\u{4}' if self.line.is_empty() => shown.status = Some(0),
                // Control-C.
                '\u{3}' => {
                    self.line.clear();
                    shown.output.push('\n');
                }
                '\u{8}' | '\u{7f}' => {
                    self.line.pop();
                    continue;
                }
                key if !key.is_control() && self.line.len() < MAX_LINE => {
                    self.line.push(key);
                    continue;
                }
                _ => continue,
            }
            if shown.status.is_some() {
                break;
            }
            shown.output.push_str(PROMPT);
        }
        shown
    }

    fn run(&self, line: &str, output: &mut String) -> Option<u8> {
        let (command, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        match command {
            "" => {}
            "cat" => match FILES.iter().find(|(name, _)| *name == rest) {
                Some((_, text)) => output.push_str(text),
                None => output.push_str(&format!("cat: there is no `{rest}`; `ls` shows the files\n")),
            },
            "echo" => output.push_str(&format!("{rest}\n")),
            "exit" if rest.is_empty() => return Some(0),
            "exit" => match rest.parse() {
                Ok(status) => return Some(status),
                Err(_) => output.push_str("exit: the status has to be a number up to 255\n"),
            },
            "help" => output.push_str(HELP),
            "ls" => FILES.iter().for_each(|(name, _)| output.push_str(&format!("{name}\n"))),
            "size" => output.push_str(&format!("{} rows, {} columns\n", self.size.rows, self.size.cols)),
            _ => output.push_str(&format!("{command}: no such command; `help` lists them\n")),
        }
        None
    }
}
