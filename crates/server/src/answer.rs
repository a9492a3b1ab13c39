//! Answers that are not 2xx. All of them, whatever goes wrong, are an [`ErrorBody`].

use api::ErrorBody;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use model::Refusal;
use service::ServiceError;
use store::StoreError;

/// An answer that is not 2xx.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) body: ErrorBody,
}

pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &str) -> Self {
        Self {
            status,
            body: ErrorBody::new(code),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.body = self.body.with(name, value);
        self
    }

    /// The request is not understood.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request").with("detail", detail.into())
    }

    /// Nothing is begun any more.
    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_stopping")
    }

    /// Something that must not happen; the log has the rest.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self.body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"refloat\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

impl From<ServiceError> for Failure {
    /// Errors of the engine keep their code and parameters. What is our own fault or the record's is logged here.
    fn from(error: ServiceError) -> Self {
        let status = status(&error);
        if status.is_server_error() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                code = error.code(),
                "request failed"
            );
        }
        let mut body = ErrorBody::new(error.code());
        body.params = error.params();
        Self { status, body }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        ServiceError::from(error).into()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        ServiceError::from(refusal).into()
    }
}

fn status(error: &ServiceError) -> StatusCode {
    match error {
        ServiceError::UnknownCluster { .. }
        | ServiceError::UnknownNodes { .. }
        | ServiceError::UnknownOperation { .. } => StatusCode::NOT_FOUND,
        ServiceError::NoNodes => StatusCode::BAD_REQUEST,
        // The request is fine; what is in the cluster or the record forbids it as things are.
        ServiceError::AmbiguousCluster { .. }
        | ServiceError::OperationEnded { .. }
        | ServiceError::PlanRefused { .. }
        | ServiceError::StepRefused { .. }
        | ServiceError::NoWay { .. } => StatusCode::CONFLICT,
        ServiceError::Host(error) => host_status(error.code()),
        ServiceError::MissingRights { .. } => StatusCode::FORBIDDEN,
        ServiceError::NotSynced(_) | ServiceError::Connect(_) => StatusCode::SERVICE_UNAVAILABLE,
        ServiceError::Refused { refusal } => match refusal {
            Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
            // Not the caller's credentials, ours: TokenReview has accepted theirs.
            Refusal::Unauthorized { .. } | Refusal::Unavailable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Host { error, .. } => host_status(error),
            _ => StatusCode::CONFLICT,
        },
        ServiceError::Store(error) => match error {
            StoreError::NodeBusy { .. }
            | StoreError::Conflict { .. }
            | StoreError::Ended { .. }
            | StoreError::Exists { .. } => StatusCode::CONFLICT,
            StoreError::Unknown { .. } => StatusCode::NOT_FOUND,
            StoreError::Full { .. }
            | StoreError::Io { .. }
            | StoreError::Busy { .. }
            | StoreError::Denied { .. }
            | StoreError::Locked { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
        ServiceError::NotLeading => StatusCode::SERVICE_UNAVAILABLE,
        ServiceError::PlanFlawed { .. }
        | ServiceError::UnknownKind { .. }
        | ServiceError::Unknown(_)
        | ServiceError::Unreadable { .. }
        | ServiceError::Illegal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Of an error of a host, by its code.
pub(crate) fn host_status(code: &str) -> StatusCode {
    match code {
        "argument_rejected" => StatusCode::BAD_REQUEST,
        "agent_not_connected" | "host_refused" | "host_interrupted" => StatusCode::CONFLICT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let cases = [
            (ServiceError::NoNodes, 400),
            (
                ServiceError::UnknownNodes {
                    nodes: vec!["n".into()],
                },
                404,
            ),
            (
                ServiceError::MissingRights {
                    user: "u".into(),
                    missing: vec![],
                },
                403,
            ),
            (
                Refusal::Forbidden {
                    message: "no".into(),
                }
                .into(),
                403,
            ),
            (
                Refusal::Unauthorized {
                    message: "no".into(),
                }
                .into(),
                503,
            ),
            (
                Refusal::Unavailable {
                    message: "eof".into(),
                }
                .into(),
                503,
            ),
            (
                StoreError::NodeBusy {
                    node: "n".into(),
                    operation: "o".into(),
                }
                .into(),
                409,
            ),
            (
                StoreError::Full {
                    path: "record".into(),
                }
                .into(),
                503,
            ),
        ];
        for (error, expected) in cases {
            let code = error.code();
            let failure = Failure::from(error);
            assert_eq!(failure.status, expected, "{code}");
            assert_eq!(failure.body.code, code);
        }
    }
}
