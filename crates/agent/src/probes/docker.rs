//! Docker over its socket, in HTTP/1.0: without its program, which may be missing or too slow when many are asked.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use host::sources;
use serde_json::Value;

use super::read;
use crate::command::find;

/// For a ping; a daemon that needs longer hangs for kubelet too.
const PING: Duration = Duration::from_millis(2500);
/// For everything else.
const ASK: Duration = Duration::from_secs(2);
/// Containers asked at once.
const SIDE_BY_SIDE: usize = 16;
/// The most of an answer, in bytes.
const MOST: u64 = 8 << 20;

/// What a thread makes of it in time; its parent does not wait longer, whatever holds the thread.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, answer) = mpsc::channel();
    let work = move || {
        let _ = sender.send(work());
    };
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(work)
        .ok()?;
    answer.recv_timeout(limit).ok()
}

/// Status and body of a GET. HTTP/1.0, so that the answer ends with the connection.
pub(super) fn exchange(stream: &mut (impl Read + Write), path: &str) -> io::Result<(u16, Vec<u8>)> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other("not HTTP"))
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let status = words
        .next()
        .filter(|word| word.starts_with("HTTP/"))
        .and(words.next())?;
    Some((status.parse().ok()?, answer[end + 4..].to_vec()))
}

fn get(path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(sources::DOCKER_SOCKET)?;
    exchange(&mut stream, path)
}

/// `None`: not in time.
fn ask(limit: Duration, path: String) -> Option<io::Result<(u16, Vec<u8>)>> {
    within(limit, move || get(&path))
}

fn json(limit: Duration, path: &str) -> Result<Value, &'static str> {
    match ask(limit, path.to_owned()) {
        Some(Ok((200, body))) => serde_json::from_slice(&body).map_err(|_| "fails"),
        Some(_) => Err("fails"),
        None => Err("hangs"),
    }
}

fn is_installed(programs: &[&str]) -> bool {
    programs.iter().any(|program| find(program).is_some())
}

/// Whether the runtime is here at all, and what its socket is. `false`: there is nothing more to ask.
pub(super) fn is_there(programs: &[&str], socket: &str, out: &mut dyn Write) -> io::Result<bool> {
    let installed = is_installed(programs);
    if installed {
        writeln!(out, "installed")?;
    }
    let there = Path::new(socket).exists();
    if installed && !there {
        writeln!(out, "socket absent")?;
    }
    Ok(there)
}

/// What the daemon is told at its start: one that is stopped or hangs says nothing of itself, and whether its containers
/// outlive it is then what matters most.
fn live_restore(config: &str) -> Option<bool> {
    serde_json::from_str::<Value>(config).ok()?["live-restore"].as_bool()
}

pub(super) fn probe(out: &mut dyn Write) -> io::Result<()> {
    let config = read(sources::DOCKER_CONFIG).and_then(|config| live_restore(&config));
    if let Some(live) = config
        && is_installed(sources::DOCKER_PROGRAMS)
    {
        writeln!(out, "live-restore {live}")?;
    }
    if !is_there(sources::DOCKER_PROGRAMS, sources::DOCKER_SOCKET, out)? {
        return Ok(());
    }
    let began = Instant::now();
    match ask(PING, "/_ping".to_owned()) {
        Some(Ok((200, _))) => writeln!(out, "socket ok\nping {}", began.elapsed().as_millis())?,
        Some(Ok(_)) => return writeln!(out, "socket ok\nping fails"),
        Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return writeln!(out, "socket refused");
        }
        Some(Err(_)) => return writeln!(out, "socket ok\nping fails"),
        None => return writeln!(out, "socket ok\nping hangs"),
    }
    if let Ok(version) = json(ASK, "/version")
        && let Some(version) = version["Version"].as_str()
    {
        writeln!(out, "version {version}")?;
    }
    out.flush()?;
    let list = json(ASK, "/containers/json?all=1");
    match &list {
        Ok(_) => writeln!(out, "list ok")?,
        Err(word) => writeln!(out, "list {word}")?,
    }
    // Counts containers, so it hangs where a list does; hence after it.
    if let Ok(info) = json(ASK, "/info")
        && let Some(live) = info["LiveRestoreEnabled"].as_bool()
    {
        writeln!(out, "live-restore {live}")?;
    }
    out.flush()?;
    let list = list.unwrap_or_default();
    let ids = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["Id"].as_str());
    containers(ids.map(str::to_owned).collect(), out)
}

fn containers(ids: Vec<String>, out: &mut dyn Write) -> io::Result<()> {
    let ids = Arc::new(ids);
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, answers) = mpsc::channel();
    for _ in 0..SIDE_BY_SIDE.min(ids.len()) {
        let (ids, next, sender) = (ids.clone(), next.clone(), sender.clone());
        let work = move || {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = match json(ASK, &format!("/containers/{id}/json")) {
                    Ok(answer) => match answer["State"]["Status"].as_str() {
                        Some(state) => format!("container {id} {state} ok"),
                        None => format!("container {id} - ok"),
                    },
                    Err(word) => format!("container {id} - {word}"),
                };
                let _ = sender.send(answer);
            }
        };
        let _ = std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(work);
    }
    drop(sender);
    // Each is told as it answers; if that takes too long, this child is killed and the rest is not told.
    for answer in answers {
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let (status, body) = parse(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nok").unwrap();
        assert_eq!((status, body.as_slice()), (200, b"ok".as_slice()));
        for bad in [
            &b""[..],
            b"ok",
            b"HTTP/1.0",
            b"HTTP/1.0 x\r\n\r\n",
            b"FTP 200\r\n\r\n",
        ] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn configurations() {
        assert_eq!(
            live_restore(r#"{"a": 1, "live-restore": true}"#),
            Some(true)
        );
        assert_eq!(live_restore(r#"{"live-restore": false}"#), Some(false));
        for unknown in ["", "{", "[]", "{}", r#"{"live-restore": "yes"}"#] {
            assert_eq!(live_restore(unknown), None, "{unknown}");
        }
    }
}
