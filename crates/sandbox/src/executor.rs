//! Futures in virtual time: one thread, what is ready runs in the order in which it was woken, and time stands still while
//! anything is. Nothing here knows a runtime; whatever a future waits for other than [`Executor::sleep_until`] is woken by
//! its own waker.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use model::Time;

/// A future that may run here.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks that end together: those of one process.
pub type Group = u32;

/// Runs tasks. Cloning is cheap; all clones are one executor.
#[derive(Clone)]
pub struct Executor(Arc<Mutex<State>>);

struct State {
    now: Time,
    serial: u64,
    ready: BTreeSet<u64>,
    /// By id; `None` while it is being polled.
    tasks: BTreeMap<u64, (Group, Option<Task>)>,
    wakers: BTreeMap<u64, Arc<TaskWaker>>,
    timers: BTreeMap<(Time, u64), Waker>,
}

struct TaskWaker {
    id: u64,
    queued: AtomicBool,
    executor: Executor,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.executor.lock().ready.insert(self.id);
        }
    }
}

impl Executor {
    /// Nothing to do, at this moment.
    pub fn new(now: Time) -> Self {
        Self(Arc::new(Mutex::new(State {
            now,
            serial: 0,
            ready: BTreeSet::new(),
            tasks: BTreeMap::new(),
            wakers: BTreeMap::new(),
            timers: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment.
    pub fn now(&self) -> Time {
        self.lock().now
    }

    /// Starts a task; it is polled for the first time by the next [`Executor::run`].
    pub fn spawn(&self, group: Group, task: Task) {
        let mut state = self.lock();
        state.serial += 1;
        let id = state.serial;
        let waker = Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(true),
            executor: self.clone(),
        });
        state.tasks.insert(id, (group, Some(task)));
        state.wakers.insert(id, waker);
        state.ready.insert(id);
    }

    /// Ends all tasks of a group between two polls, as a killed process ends.
    pub fn kill(&self, group: Group) {
        let mut state = self.lock();
        let all = mem::take(&mut state.tasks);
        let (dead, alive) = all.into_iter().partition(|(_, (other, _))| *other == group);
        state.tasks = alive;
        let dead: BTreeMap<u64, (Group, Option<Task>)> = dead;
        for id in dead.keys() {
            state.wakers.remove(id);
        }
        // What a future drops may wake others.
        drop(state);
        drop(dead);
    }

    /// Polls until nothing is ready any more, or as long as `goes_on` says so.
    pub fn run(&self, mut goes_on: impl FnMut() -> bool) {
        while goes_on() {
            let mut state = self.lock();
            let Some(id) = state.ready.pop_first() else {
                return;
            };
            let (Some(waker), Some((_, slot))) =
                (state.wakers.get(&id).cloned(), state.tasks.get_mut(&id))
            else {
                continue;
            };
            let Some(mut task) = slot.take() else {
                continue;
            };
            drop(state);
            waker.queued.store(false, Ordering::Relaxed);
            let polled = task
                .as_mut()
                .poll(&mut Context::from_waker(&Waker::from(waker)));
            let mut state = self.lock();
            match (polled, state.tasks.get_mut(&id)) {
                (Poll::Pending, Some((_, slot))) => *slot = Some(task),
                _ => {
                    state.tasks.remove(&id);
                    state.wakers.remove(&id);
                    drop(state);
                    drop(task);
                }
            }
        }
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Time> {
        self.lock().timers.keys().next().map(|(time, _)| *time)
    }

    /// It is this late now: what slept until then is woken. Time does not go back.
    pub fn advance(&self, now: Time) {
        let mut state = self.lock();
        state.now = state.now.max(now);
        let now = state.now;
        let mut due = Vec::new();
        while let Some(entry) = state.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        drop(state);
        for waker in due {
            waker.wake();
        }
    }

    /// Sleeps.
    pub fn sleep_until(&self, until: Time) -> Sleep {
        Sleep {
            executor: self.clone(),
            until,
            timer: None,
        }
    }
}

/// See [`Executor::sleep_until`].
pub struct Sleep {
    executor: Executor,
    until: Time,
    timer: Option<(Time, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let executor = self.executor.clone();
        let mut state = executor.lock();
        if let Some(timer) = self.timer.take() {
            state.timers.remove(&timer);
        }
        if state.now >= self.until {
            return Poll::Ready(());
        }
        state.serial += 1;
        let timer = (self.until, state.serial);
        state.timers.insert(timer, context.waker().clone());
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.executor.lock().timers.remove(&timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::at;

    type Log = Arc<Mutex<Vec<String>>>;

    fn sleeper(executor: &Executor, log: &Log, name: &'static str, naps: &'static [u64]) -> Task {
        let (executor, log) = (executor.clone(), log.clone());
        Box::pin(async move {
            for nap in naps {
                executor.sleep_until(at(*nap)).await;
                log.lock().unwrap().push(format!("{name}@{nap}"));
            }
        })
    }

    fn run(executor: &Executor) {
        loop {
            executor.run(|| true);
            let Some(next) = executor.next_timer() else {
                return;
            };
            executor.advance(next);
        }
    }

    #[test]
    fn what_sleeps_wakes_in_order_of_time_then_of_falling_asleep() {
        let (executor, log) = (Executor::new(at(0)), Log::default());
        executor.spawn(1, sleeper(&executor, &log, "a", &[10, 30]));
        executor.spawn(1, sleeper(&executor, &log, "b", &[10, 20]));
        run(&executor);
        let log = log.lock().unwrap();
        assert_eq!(*log, ["a@10", "b@10", "b@20", "a@30"]);
        assert_eq!(executor.now(), at(30));
    }

    #[test]
    fn a_killed_group_does_nothing_more_and_keeps_no_timer() {
        let (executor, log) = (Executor::new(at(0)), Log::default());
        executor.spawn(1, sleeper(&executor, &log, "a", &[10, 30]));
        executor.spawn(2, sleeper(&executor, &log, "b", &[20]));
        executor.run(|| true);
        executor.advance(at(10));
        executor.run(|| true);
        executor.kill(1);
        assert_eq!(executor.next_timer(), Some(at(20)));
        run(&executor);
        assert_eq!(*log.lock().unwrap(), ["a@10", "b@20"]);
    }
}
