//! The system's clock, and tokio's tasks.

use std::time::Duration;

use engine::Clock;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::Time;

pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::now()
    }

    fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()> {
        let until = Duration::try_from(at.duration_since(Time::now())).unwrap_or_default();
        tokio::time::sleep(until).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}
