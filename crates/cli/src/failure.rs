//! What went wrong, as a code with parameters.

use std::collections::BTreeMap;
use std::path::Path;

use api::ErrorBody;
use kubernetes::ConnectError;
use operations::drain::Plan;
use phrases::Voice;
use serde_json::{Value, json};
use service::ServiceError;
use store::StoreError;

use crate::exit::Exit;

/// Why a command did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) params: BTreeMap<String, Value>,
    pub(crate) exit: Exit,
    /// For refused plans: the plan, which says which pods need which flag.
    pub(crate) plan: Option<Box<Plan>>,
}

impl Failure {
    pub(crate) fn new(code: &str) -> Self {
        let exit = match code {
            "plan_refused" | "plan_flawed" => Exit::Refused,
            "both_names_and_selector" | "not_a_node" | "no_nodes" | "output_unknown" => Exit::Usage,
            _ => Exit::Error,
        };
        Self {
            code: code.to_owned(),
            params: BTreeMap::new(),
            exit,
            plan: None,
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub(crate) fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn internal(detail: impl std::fmt::Display) -> Self {
        Self::new("internal").with("detail", detail.to_string())
    }

    pub(crate) fn store(error: StoreError) -> Self {
        ServiceError::from(error).into()
    }

    /// Names where a record is, for errors that only say which event.
    #[must_use]
    pub(crate) fn at(self, path: &Path) -> Self {
        if self.params.contains_key("path") {
            self
        } else {
            self.with("path", path.display().to_string())
        }
    }

    pub(crate) fn sentence(&self, voice: &Voice) -> String {
        voice.say(&format!("error.{}", self.code), &json!(self.params))
    }

    pub(crate) fn hint(&self, voice: &Voice) -> Option<String> {
        let key = format!("hint.{}", self.code);
        phrases::has(&key).then(|| voice.say(&key, &json!(self.params)))
    }

    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code.clone(),
            params: self.params.clone(),
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let mut failure = Self::new(error.code());
        failure.params = error.params();
        if let ServiceError::PlanRefused { plan } = error {
            failure.plan = Some(plan);
        }
        failure
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        ServiceError::from(error).into()
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self {
            params: body.params,
            ..Self::new(&body.code)
        }
    }
}

impl From<crate::args::Bad> for Failure {
    fn from(bad: crate::args::Bad) -> Self {
        Self {
            params: bad.params,
            ..Self::new(bad.code).exiting(Exit::Usage)
        }
    }
}
