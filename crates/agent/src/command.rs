//! Programs of the host, each with constant words and a deadline. Runs within a probe's own child, which its parent can
//! give up, so that even a program in state D holds nobody but that child.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use host::sources::PROGRAM_DIRECTORIES;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself; a signal counts as 128 and its number, as a shell has it.
    Exit(i32),
    /// It was killed at its deadline.
    TimedOut,
    /// It could not be started.
    NotStarted,
}

impl End {
    pub(crate) fn is_ok(self) -> bool {
        self == Self::Exit(0)
    }

    /// As a shell would say it of `timeout -s KILL`.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Exit(code) => code,
            Self::TimedOut => 137,
            Self::NotStarted => 127,
        }
    }
}

/// What a program printed on stdout and, when asked for, stderr.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) end: End,
    pub(crate) text: String,
}

/// Where a program is; the first of the directories that has it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let paths = PROGRAM_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(program));
    paths.into_iter().find(|path| path.is_file())
}

/// A program with the surroundings that all have: no terminal, no language, a process group in which its children die
/// with it.
pub(crate) fn prepare(words: &[&str]) -> Option<Command> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(find(program)?);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PROGRAM_DIRECTORIES.join(":"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if !IN_CHILD.load(Ordering::Relaxed) {
        command.process_group(0);
    }
    Some(command)
}

/// Whether this process is a child of the agent: then its programs stay in its group and end with it.
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// From now on programs end with this process' group.
pub(crate) fn be_child() {
    // It is started as `/proc/self/exe`, and what may hang for long should not be called `exe`.
    let _ = rustix::thread::set_name(c"refloat-agent");
    IN_CHILD.store(true, Ordering::Relaxed);
}

/// Runs it for at most `limit`; stdout, at most `most` bytes.
pub(crate) fn run(limit: Duration, words: &[&str]) -> Printed {
    let Some(command) = prepare(words) else {
        return not_started();
    };
    finish(limit, command)
}

/// The same with stderr after stdout, for programs that say there why.
pub(crate) fn run_both(limit: Duration, words: &[&str]) -> Printed {
    let Some(mut command) = prepare(words) else {
        return not_started();
    };
    command.stderr(Stdio::piped());
    finish(limit, command)
}

fn not_started() -> Printed {
    Printed {
        end: End::NotStarted,
        text: String::new(),
    }
}

/// The most that is kept of what a program prints, in bytes.
const MOST: u64 = 8 << 20;

fn finish(limit: Duration, mut command: Command) -> Printed {
    let until = Instant::now() + limit;
    let Ok(mut child) = command.spawn() else {
        return not_started();
    };
    let (sender, pieces) = mpsc::channel();
    let streams: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<_>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<_>),
    ];
    for (at, stream) in streams.into_iter().enumerate() {
        let Some(stream) = stream else {
            continue;
        };
        let sender = sender.clone();
        let read = move || {
            let mut bytes = Vec::new();
            let _ = stream.take(MOST).read_to_end(&mut bytes);
            let _ = sender.send((at, bytes));
        };
        if std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(read)
            .is_err()
        {
            end(&mut child);
            return not_started();
        }
    }
    drop(sender);
    let mut parts = [Vec::new(), Vec::new()];
    loop {
        match pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((at, bytes)) => parts[at] = bytes,
            // Both streams have ended: so has the program, or it will at once.
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                end(&mut child);
                return Printed {
                    end: End::TimedOut,
                    text: text(&parts),
                };
            }
        }
    }
    Printed {
        end: wait(&mut child, until),
        text: text(&parts),
    }
}

fn text(parts: &[Vec<u8>; 2]) -> String {
    String::from_utf8_lossy(&parts.concat()).into_owned()
}

fn wait(child: &mut Child, until: Instant) -> End {
    use std::os::unix::process::ExitStatusExt as _;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let code = status.code().or(status.signal().map(|signal| 128 + signal));
                return End::Exit(code.unwrap_or(-1));
            }
            Ok(None) if Instant::now() < until => {
                // Its streams are closed and it is about to end; there is nothing to wait on but time.
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => {
                end(child);
                return End::TimedOut;
            }
        }
    }
}

/// Kills it with its children and does not wait: in state D it would not come.
pub(crate) fn end(child: &mut Child) {
    if let Ok(raw) = i32::try_from(child.id())
        && let Some(group) = rustix::process::Pid::from_raw(raw)
    {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.try_wait();
}
