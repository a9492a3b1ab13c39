use std::sync::Arc;

use operations::OperationView;
use operations::kinds::{Recorded, State, Waiting};

use crate::error::Error;

/// Why a task had to stop although its operation has not ended. The operation can be taken up again.
pub type Fault = Arc<Error>;

/// Where an operation is, as of now.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its state.
    pub state: Arc<State>,
    /// Number of its newest event.
    pub seq: u64,
    /// What it waits for.
    pub waiting: Arc<Vec<Waiting>>,
    /// Set when its task had to stop.
    pub fault: Option<Fault>,
}

/// An event as it was recorded.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// It.
    pub recorded: Recorded,
}

impl Status {
    /// It as it is shown.
    pub fn view(&self) -> OperationView {
        OperationView {
            waiting: self.waiting.to_vec(),
            ..self.state.view()
        }
    }
}
