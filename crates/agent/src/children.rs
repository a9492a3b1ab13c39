//! Children with a deadline whose output is read as it comes, all in one thread. A child that cannot be killed (state D)
//! is left behind and counted; nobody ever waits for one.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use host::sources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, test_kill_process_group};

use crate::{command, probes};

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Exit(i32),
    /// It was killed at its deadline.
    TimedOut,
    /// It was not wanted any more.
    Stopped,
}

/// A child at work.
pub(crate) struct Job {
    name: String,
    child: Child,
    stdout: Option<ChildStdout>,
    began: Instant,
    until: Option<Instant>,
    /// When its output ended.
    silent: Option<Instant>,
}

/// A child that was killed and has not ended yet, or that left a program of its own which has not.
struct Left {
    name: String,
    child: Child,
}

impl Left {
    /// Its programs are in its group. What has ended and nobody has taken leave of, since systemd hangs, is in it still,
    /// so that the cheap question is only the first.
    fn is_there(&mut self) -> bool {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let has_programs = |group: Pid| {
            test_kill_process_group(group).is_ok() && probes::is_alive(group.as_raw_nonzero().get())
        };
        matches!(self.child.try_wait(), Ok(None)) || group.is_some_and(has_programs)
    }
}

static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

/// So many children may be left before no more are started: each holds a process on a host that may lack them.
const MOST_LEFT: usize = 64;

/// So many of one name, not counting those of which it is known where they wait: what hung in the kernel three times
/// hangs a fourth time.
const MOST_LEFT_ALIKE: usize = 3;

/// How a child knows what others wait for, in words.
const OPEN: &str = "REFLOAT_OPEN_QUESTIONS";

/// The name of a thread that asks something that may hang for ever, in 11 bytes at most: `major:minor` of a file system,
/// for one.
pub(crate) fn asking(what: &str) -> String {
    format!("{}{what}", sources::ASKING)
}

/// In a child: what children before it still wait for. Who asks it again waits too, and is left, too.
pub(crate) fn open_questions() -> BTreeSet<String> {
    let words = std::env::var(OPEN).unwrap_or_default();
    words.split_ascii_whitespace().map(str::to_owned).collect()
}

/// What threads of a process wait for. Those that do not hang have gone with it.
fn questions(pid: u32) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    let names = tasks.flatten().filter_map(|task| name(task).ok());
    names
        .filter_map(|name| {
            name.trim_end()
                .strip_prefix(sources::ASKING)
                .map(str::to_owned)
        })
        .collect()
}

/// Why no child was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStarted {
    /// No process is to be had.
    Refused,
    /// Those of before hang still.
    Hanging,
}

fn left() -> std::sync::MutexGuard<'static, Vec<Left>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes leave of those that ended meanwhile.
fn still_left() -> std::sync::MutexGuard<'static, Vec<Left>> {
    let mut left = left();
    left.retain_mut(Left::is_there);
    left
}

/// How many children that were killed are still there.
pub(crate) fn count_left() -> usize {
    still_left().len()
}

/// What a child of this name must not ask, beside those that are left: their names, and what they are known to wait for.
fn beside(name: &str, left: &[(String, BTreeSet<String>)]) -> Result<BTreeSet<String>, NotStarted> {
    let is_alike = |(other, open): &&(String, BTreeSet<String>)| other == name && open.is_empty();
    if left.len() >= MOST_LEFT || left.iter().filter(is_alike).count() >= MOST_LEFT_ALIKE {
        return Err(NotStarted::Hanging);
    }
    Ok(left.iter().flat_map(|(_, open)| open.clone()).collect())
}

/// Starts this very program again with these words; the first two are its name.
pub(crate) fn start(words: &[&str], limit: Option<Duration>) -> Result<Job, NotStarted> {
    let name = words[..words.len().min(2)].join(" ");
    let waiting = |left: &Left| (left.name.clone(), questions(left.child.id()));
    let waiting: Vec<_> = still_left().iter().map(waiting).collect();
    let open = beside(&name, &waiting)?;
    let began = Instant::now();
    let spawned = Command::new("/proc/self/exe")
        .args(words)
        .env(OPEN, open.into_iter().collect::<Vec<_>>().join(" "))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = spawned.map_err(|_| NotStarted::Refused)?;
    Ok(Job {
        name,
        stdout: child.stdout.take(),
        child,
        began,
        until: limit.map(|limit| began + limit),
        silent: None,
    })
}

/// What happens with a child.
pub(crate) enum Event<'a> {
    /// It printed.
    Bytes(&'a [u8]),
    /// It ended, after so long.
    End(End, Duration),
}

/// A child whose output has ended and that does not itself within this has a thread in state D; its work is done.
const ENDING: Duration = Duration::from_millis(200);

/// Reads all children until each has ended. `each` is told which one and what; when it returns `false`, or `stop` says
/// so, all are killed.
pub(crate) fn attend(
    mut jobs: Vec<Option<Job>>,
    stop: &dyn Fn() -> bool,
    each: &mut dyn FnMut(usize, Event<'_>) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut go_on = true;
    while jobs.iter().any(Option::is_some) {
        let now = Instant::now();
        for (at, slot) in jobs.iter_mut().enumerate() {
            let over = |job: &Job| job.until.is_some_and(|until| now >= until);
            let is_done = |job: &Job| job.silent.is_some_and(|silent| now >= silent + ENDING);
            let end = match slot {
                Some(_) if !go_on || stop() => End::Stopped,
                Some(job) if is_done(job) => End::Exit(0),
                Some(job) if over(job) => End::TimedOut,
                _ => continue,
            };
            if let Some(job) = slot.take() {
                let took = job.began.elapsed();
                give_up(job);
                go_on = each(at, Event::End(end, took)) && go_on;
            }
        }
        let (places, ready) = wait(&jobs, now);
        for (at, is_ready) in places.into_iter().zip(ready) {
            let Some(job) = jobs[at].as_mut().filter(|_| is_ready) else {
                continue;
            };
            let count = match &mut job.stdout {
                Some(stdout) => stdout.read(&mut buffer).unwrap_or(0),
                None => 0,
            };
            if count > 0 {
                go_on = each(at, Event::Bytes(&buffer[..count])) && go_on;
                continue;
            }
            job.stdout = None;
            job.silent.get_or_insert_with(Instant::now);
            if let Ok(Some(status)) = job.child.try_wait() {
                let end = End::Exit(status.code().unwrap_or(137));
                let took = job.began.elapsed();
                if let Some(job) = jobs[at].take() {
                    leave(job);
                }
                go_on = each(at, Event::End(end, took)) && go_on;
            }
        }
    }
}

/// Waits until a child prints, ends or is over its time. Which are there, and which of them are ready.
fn wait(jobs: &[Option<Job>], now: Instant) -> (Vec<usize>, Vec<bool>) {
    /// How long a wish to stop may go unseen, and an end whose stream has closed already.
    const MOST: Duration = Duration::from_millis(100);
    const SOON: Duration = Duration::from_millis(5);
    let mut places = Vec::new();
    let mut fds = Vec::new();
    let mut ending = Vec::new();
    let mut limit = MOST;
    for (at, job) in jobs.iter().enumerate() {
        let Some(job) = job else {
            continue;
        };
        if let Some(until) = job.until {
            limit = limit.min(until.saturating_duration_since(now));
        }
        match &job.stdout {
            Some(stdout) => {
                places.push(at);
                fds.push(PollFd::new(stdout, PollFlags::IN));
            }
            None => {
                limit = limit.min(SOON);
                ending.push(at);
            }
        }
    }
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: limit.subsec_nanos().into(),
    };
    let polled = poll(&mut fds, Some(&timeout)).is_ok();
    let mut ready: Vec<bool> = fds
        .iter()
        .map(|fd| polled && !fd.revents().is_empty())
        .collect();
    ready.extend(ending.iter().map(|_| true));
    places.extend(ending);
    (places, ready)
}

fn give_up(mut job: Job) {
    command::end(&mut job.child);
    leave(job);
}

fn leave(job: Job) {
    let mut job = Left {
        name: job.name,
        child: job.child,
    };
    if job.is_there() {
        left().push(job);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_a_thread_waits_for_is_seen_from_outside() {
        let (keep, waits) = mpsc::channel::<()>();
        let name = asking("253:1048575");
        let thread = std::thread::Builder::new().name(name);
        let thread = thread.spawn(move || waits.recv().is_err()).unwrap();
        let mine = || questions(std::process::id()).contains("253:1048575");
        let until = Instant::now() + Duration::from_secs(60);
        while !mine() && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(mine());
        drop(keep);
        assert!(thread.join().unwrap());
        while mine() && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(!mine());
    }

    #[test]
    fn what_hangs_is_not_asked_again_and_what_hangs_somewhere_not_a_fourth_time() {
        let left = |name: &str, open: &[&str]| {
            let open = open.iter().map(|one| (*one).to_owned()).collect();
            (name.to_owned(), open)
        };
        let open = |all: &[&str]| Ok(all.iter().map(|one| (*one).to_owned()).collect());
        let somewhere = left("probe units", &[]);
        let mut all = vec![somewhere.clone(), somewhere.clone()];
        assert_eq!(beside("probe units", &all), open(&[]));
        all.push(somewhere);
        assert_eq!(beside("probe units", &all), Err(NotStarted::Hanging));
        // Another one may work, and where it is known what hangs, the rest is asked however many are left.
        for at in 0..10 {
            all.push(left("probe mounts", &[&format!("0:{}", at % 2)]));
        }
        assert_eq!(beside("probe mounts", &all), open(&["0:0", "0:1"]));
        assert_eq!(beside("probe bus", &all), open(&["0:0", "0:1"]));
        all.resize(MOST_LEFT, left("probe mounts", &["0:0"]));
        assert_eq!(beside("probe bus", &all), Err(NotStarted::Hanging));
    }

    #[test]
    fn a_program_that_outlives_its_child_is_still_there() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 >/dev/null 2>&1 &"]);
        let mut child = command.process_group(0).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        let mut left = Left {
            name: "probe write".to_owned(),
            child,
        };
        assert!(left.is_there());
        command::end(&mut left.child);
        let until = Instant::now() + Duration::from_secs(60);
        while left.is_there() && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(!left.is_there());
    }
}
