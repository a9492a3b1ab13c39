//! What goes out: frames from workers to the thread that writes. Bounded, so that a slow network slows the workers down
//! and does not fill the memory.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use host::{Frame, FromAgent};

/// Workers wait when more bytes than this wait.
const FULL: usize = 1 << 20;

#[derive(Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The last frame was taken and everything before it has been written.
    idle: bool,
    closed: bool,
}

pub(super) struct Outbox {
    state: Mutex<State>,
    /// Something left or the connection ended.
    changed: Condvar,
    waker: UnixStream,
}

impl Outbox {
    pub(super) fn new(waker: UnixStream) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            waker,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn push(&self, state: &mut State, frame: Vec<u8>) {
        state.bytes += frame.len();
        state.idle = false;
        state.frames.push_back(frame);
        // A full pipe is a wake-up that is already on its way.
        let _ = (&self.waker).write(&[1]);
    }

    /// From a worker: waits for room. `false`: the connection has ended.
    pub(super) fn send(&self, frame: Vec<u8>) -> bool {
        let mut state = self.state();
        while state.bytes > FULL && !state.closed {
            state = self.wait(state, Duration::from_secs(1));
        }
        if !state.closed {
            self.push(&mut state, frame);
        }
        !state.closed
    }

    /// A short message from the thread that writes, which must not wait for itself.
    pub(super) fn message(&self, message: &FromAgent) {
        if let Some(frame) = encode(message) {
            self.push(&mut self.state(), frame);
        }
    }

    /// The next frame; nothing means that all have been written.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        let frame = state.frames.pop_front();
        match &frame {
            Some(frame) => state.bytes -= frame.len(),
            None => state.idle = true,
        }
        self.changed.notify_all();
        frame
    }

    /// Waits until everything is written or the connection has ended, for at most this long.
    pub(super) fn drained(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut state = self.state();
        while !state.idle && !state.closed && Instant::now() < until {
            state = self.wait(state, until.saturating_duration_since(Instant::now()));
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.frames.clear();
        self.changed.notify_all();
    }
}

/// As a frame; `None` for what is too long for one.
pub(super) fn encode(message: &FromAgent) -> Option<Vec<u8>> {
    Frame::Message(serde_json::to_vec(message).ok()?)
        .encode()
        .ok()
}
