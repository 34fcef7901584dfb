//! Shows a built book on this machine: a file server for one reader, and a rebuild when a source changes.
//!
//! Deliberately not a web server: GET only, a thread for each connection, no keep-alive, bound to 127.0.0.1.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::links::decoded;

/// How often sources are looked at.
const POLL: Duration = Duration::from_millis(500);

/// The built pages. A build empties their folder, so requests wait while one runs.
#[derive(Debug)]
pub struct Pages {
    folder: PathBuf,
    building: RwLock<()>,
}

impl Pages {
    /// The pages in this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, building: RwLock::new(()) }
    }

    /// Runs a build while no request is answered.
    pub fn rebuild<T>(&self, build: impl FnOnce(&Path) -> T) -> T {
        let _guard = self.building.write().unwrap_or_else(PoisonError::into_inner);
        build(&self.folder)
    }

    /// Answers requests, for ever. The error is the listener's.
    pub fn serve(self: &Arc<Self>, listener: &TcpListener) -> io::Result<()> {
        for stream in listener.incoming() {
            let stream = stream?;
            let pages = Arc::clone(self);
            // A reader that goes away in the middle of a page is no news.
            thread::spawn(move || drop(pages.answer(&stream)));
        }
        Ok(())
    }

    fn answer(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        // The rest of the request is read, so that closing does not reset what the reader still has to get.
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let (status, kind, body) = match request.split(' ').collect::<Vec<_>>()[..] {
            ["GET", target, _] => match self.page(target) {
                Some((kind, body)) => ("200 OK", kind, body),
                None => ("404 Not Found", "text/plain; charset=utf-8", b"There is no such page.\n".to_vec()),
            },
            _ => ("405 Method Not Allowed", "text/plain; charset=utf-8", b"Only GET.\n".to_vec()),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(&body)
    }

    fn page(&self, target: &str) -> Option<(&'static str, Vec<u8>)> {
        let _guard = self.building.read().unwrap_or_else(PoisonError::into_inner);
        let path = file(&self.folder, target)?;
        Some((kind(&path), fs::read(path).ok()?))
    }
}

/// Calls `changed` whenever a file below one of `folders` appears, changes or goes, for ever.
pub fn watch(folders: &[PathBuf], mut changed: impl FnMut()) -> ! {
    let mut before = times(folders);
    loop {
        thread::sleep(POLL);
        let now = times(folders);
        if now != before {
            before = now;
            changed();
        }
    }
}

fn times(folders: &[PathBuf]) -> BTreeMap<PathBuf, SystemTime> {
    let mut times = BTreeMap::new();
    let mut open: Vec<PathBuf> = folders.to_vec();
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if let Ok(time) = metadata.modified() {
            times.insert(path, time);
        }
    }
    times
}

/// The file that a request's target means; nothing if it would leave the folder.
fn file(folder: &Path, target: &str) -> Option<PathBuf> {
    let path = decoded(target.split(['?', '#']).next()?.strip_prefix('/')?);
    let path = Path::new(&path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let file = folder.join(path);
    inside.then(|| if file.is_dir() { file.join("index.html") } else { file })
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_target_never_leaves_the_folder() {
        let folder = Path::new("/book");
        assert_eq!(file(folder, "/calls.html?x#y"), Some(PathBuf::from("/book/calls.html")));
        assert_eq!(file(folder, "/../secret"), None);
        assert_eq!(file(folder, "/%2e%2e/secret"), None);
        assert_eq!(file(folder, "//etc/passwd"), None);
    }

    #[test]
    fn files_are_served_over_a_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("index.html"), "<p>hello").expect("a file");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let pages = Arc::new(Pages::new(folder.path().to_owned()));
        thread::spawn(move || pages.serve(&listener));
        let get = |target: &str| {
            let mut stream = TcpStream::connect(address).expect("a connection");
            write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer
        };
        assert!(get("/").ends_with("<p>hello"));
        assert!(get("/nope.html").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn a_changed_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = times(&[folder.path().to_owned()]);
        fs::write(folder.path().join("new.md"), "x").expect("a file");
        assert_ne!(before, times(&[folder.path().to_owned()]));
    }
}
