//! Workers: threads that exist from the start, because a host that has run out of processes has none to give later.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// So many jobs may wait.
const WAITING: usize = 64;
const STACK: usize = 512 << 10;

#[derive(Default)]
struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    more: Condvar,
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some threads that wait for work. They end with the process.
#[derive(Clone, Default)]
pub struct Workers(Arc<Shared>);

impl Workers {
    /// Starts them.
    ///
    /// # Errors
    /// There are no threads to be had, even now.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let workers = Self::default();
        for number in 0..count {
            let shared = workers.0.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(STACK)
                .spawn(move || work(&shared))?;
        }
        Ok(workers)
    }

    /// Gives one of them a job. `false`: too many wait.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut jobs = self.0.jobs();
        if jobs.len() >= WAITING {
            return false;
        }
        jobs.push_back(Box::new(job));
        self.0.more.notify_one();
        true
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut jobs = shared.jobs();
            loop {
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => {
                        jobs = shared
                            .more
                            .wait(jobs)
                            .unwrap_or_else(PoisonError::into_inner)
                    }
                }
            }
        };
        // A job that breaks must not take its worker along.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}
