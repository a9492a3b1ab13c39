//! containerd over its socket: as much HTTP/2 and gRPC as two unary calls need (RFC 9113; the gRPC wire format), so that
//! no program and no runtime is needed. Requests are sent with header fields that are neither indexed nor compressed;
//! of the answer only data frames are read.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use host::{ContainerId, sources};

use super::docker::{is_there, within};

const PING: Duration = Duration::from_millis(2500);
const ASK: Duration = Duration::from_secs(2);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING_FRAME: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// The only stream of a connection here.
const STREAM: u32 = 1;
/// The most of an answer, in bytes; also what the peer may send without asking.
const MOST: usize = 8 << 20;

pub(super) fn probe(out: &mut dyn Write) -> io::Result<()> {
    if !is_there(
        sources::CONTAINERD_PROGRAMS,
        sources::CONTAINERD_SOCKET,
        out,
    )? {
        return Ok(());
    }
    let began = Instant::now();
    let version = within(PING, || {
        unary("/containerd.services.version.v1.Version/Version", None)
    });
    match version {
        Some(Ok(message)) => {
            writeln!(out, "socket ok\nping {}", began.elapsed().as_millis())?;
            if let Some(version) =
                field(&message, 1).and_then(|bytes| std::str::from_utf8(bytes).ok())
            {
                writeln!(out, "version {version}")?;
            }
        }
        Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return writeln!(out, "socket refused");
        }
        Some(Err(_)) => return writeln!(out, "socket ok\nping fails"),
        None => return writeln!(out, "socket ok\nping hangs"),
    }
    out.flush()?;
    let mut word = "ok";
    for namespace in sources::NAMESPACES {
        let list = "/containerd.services.tasks.v1.Tasks/List";
        match within(ASK, move || unary(list, Some(namespace))) {
            Some(Ok(message)) => tasks(&message, out)?,
            Some(Err(_)) => word = "fails",
            None => word = "hangs",
        }
    }
    writeln!(out, "list {word}")
}

/// `ListTasksResponse { repeated Process tasks = 1 }`, `Process { string container_id = 1; string id = 2; … Status
/// status = 4 }` (containerd, `api/types/task/task.proto`). A shim that does not answer has status 0.
fn tasks(message: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for task in fields(message)
        .filter(|(number, _)| *number == 1)
        .map(|(_, value)| value)
    {
        let Value::Bytes(task) = task else {
            continue;
        };
        let id = field(task, 2)
            .filter(|id| !id.is_empty())
            .or(field(task, 1));
        let id = id.and_then(|id| ContainerId::new(String::from_utf8_lossy(id)).ok());
        let Some(id) = id else {
            continue;
        };
        let status = fields(task).find_map(|(number, value)| match value {
            Value::Number(status) if number == 4 => Some(status),
            _ => None,
        });
        match status.unwrap_or(0) {
            1 => writeln!(out, "container {id} created ok")?,
            2 => writeln!(out, "container {id} running ok")?,
            3 => writeln!(out, "container {id} stopped ok")?,
            4 => writeln!(out, "container {id} paused ok")?,
            5 => writeln!(out, "container {id} pausing ok")?,
            _ => writeln!(out, "container {id} - fails")?,
        }
    }
    Ok(())
}

/// A call with an empty message; the message of the answer.
fn unary(path: &str, namespace: Option<&str>) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(sources::CONTAINERD_SOCKET)?;
    call(&mut stream, path, namespace)
}

fn call(
    stream: &mut (impl Read + Write),
    path: &str,
    namespace: Option<&str>,
) -> io::Result<Vec<u8>> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, and the same for the connection, so that nothing has to be granted on the way.
    let window = MOST as u32;
    let mut settings = vec![0, 4];
    settings.extend_from_slice(&window.to_be_bytes());
    frame(&mut out, SETTINGS, 0, 0, &settings);
    frame(&mut out, WINDOW_UPDATE, 0, 0, &window.to_be_bytes());
    let mut headers = Vec::new();
    let mut header = |name: &str, value: &str| {
        // Literal without indexing, new name; both lengths below 127 (RFC 7541, 6.2.2).
        headers.push(0);
        for text in [name, value] {
            headers.push(text.len() as u8);
            headers.extend_from_slice(text.as_bytes());
        }
    };
    header(":method", "POST");
    header(":scheme", "http");
    header(":path", path);
    header(":authority", "localhost");
    header("content-type", "application/grpc");
    header("te", "trailers");
    if let Some(namespace) = namespace {
        header("containerd-namespace", namespace);
    }
    frame(&mut out, HEADERS, END_HEADERS, STREAM, &headers);
    frame(&mut out, DATA, END_STREAM, STREAM, &[0; 5]);
    stream.write_all(&out)?;
    answer(stream)
}

fn answer(stream: &mut (impl Read + Write)) -> io::Result<Vec<u8>> {
    let broken = || io::Error::other("not an answer of gRPC");
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream_id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut content = vec![0; length];
        stream.read_exact(&mut content)?;
        let is_ours = u32::from_be_bytes(stream_id) & 0x7fff_ffff == STREAM;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                let mut ack = Vec::new();
                frame(&mut ack, SETTINGS, ACK, 0, &[]);
                stream.write_all(&ack)?;
            }
            PING_FRAME if flags & ACK == 0 => {
                let mut ack = Vec::new();
                frame(&mut ack, PING_FRAME, ACK, 0, &content);
                stream.write_all(&ack)?;
            }
            DATA if is_ours => {
                // Go's server does not pad.
                body.extend_from_slice(&content);
                if body.len() > MOST {
                    return Err(broken());
                }
            }
            RST_STREAM if is_ours => return Err(broken()),
            GOAWAY => return Err(broken()),
            _ => {}
        }
        if is_ours && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            break;
        }
    }
    // One byte of compression, four of length, then the message. None at all: an error, which is in the trailers.
    let (head, message) = body.split_first_chunk::<5>().ok_or_else(broken)?;
    let [compressed, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    match message.get(..length) {
        Some(message) if compressed == 0 => Ok(message.to_vec()),
        _ => Err(broken()),
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, content: &[u8]) {
    let [_, a, b, c] = (content.len() as u32).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(content);
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message, as far as it is one.
fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let tag = varint(&mut rest)?;
        let mut take = |length: usize| {
            let value = rest.get(..length)?;
            rest = &rest[length..];
            Some(value)
        };
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => Value::Bytes(take(8)?),
            5 => Value::Bytes(take(4)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let value = rest.get(..length)?;
                rest = &rest[length..];
                Value::Bytes(value)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    })
}

fn field(message: &[u8], wanted: u64) -> Option<&[u8]> {
    fields(message).find_map(|(number, value)| match value {
        Value::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Says what was prepared, and keeps what it is told.
    struct Peer {
        says: io::Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn peer(says: Vec<u8>) -> Peer {
        Peer {
            says: io::Cursor::new(says),
            heard: Vec::new(),
        }
    }

    #[test]
    fn a_call() {
        let mut says = Vec::new();
        frame(&mut says, SETTINGS, 0, 0, &[]);
        frame(&mut says, HEADERS, END_HEADERS, STREAM, &[0x88]);
        frame(&mut says, DATA, 0, STREAM, &[0, 0, 0, 0, 7, 0x0a]);
        frame(&mut says, DATA, 0, STREAM, b"\x051.7.2");
        frame(&mut says, HEADERS, END_HEADERS | END_STREAM, STREAM, &[]);
        let mut peer = peer(says);
        let message = call(&mut peer, "/a/b", Some("k8s.io")).unwrap();
        assert_eq!(field(&message, 1), Some(&b"1.7.2"[..]));
        assert!(peer.heard.starts_with(b"PRI * HTTP/2.0"));
        assert!(peer.heard.windows(6).any(|six| six == b"k8s.io"));
    }

    #[test]
    fn tasks_of_a_list() {
        let id = "a".repeat(64);
        let mut task = vec![0x12, 64];
        task.extend_from_slice(id.as_bytes());
        let mut running = task.clone();
        running.extend_from_slice(&[0x18, 5, 0x20, 2]);
        let mut message = vec![0x0a, running.len() as u8];
        message.extend_from_slice(&running);
        message.extend_from_slice(&[0x0a, task.len() as u8]);
        message.extend_from_slice(&task);
        let mut out = Vec::new();
        tasks(&message, &mut out).unwrap();
        let expected = format!("container {id} running ok\ncontainer {id} - fails\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn no_answer_whatever_breaks_it(says in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = call(&mut peer(says.clone()), "/a/b", None);
            let _ = tasks(&says, &mut Vec::new());
        }
    }
}
