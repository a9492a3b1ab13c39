//! Requests to values: strict, so that a misspelt option is an error and not a default.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Failure};

/// The longest reason; it becomes an annotation and stands in the record.
const REASON_LIMIT: usize = 2048;
/// The longest ticket.
const TICKET_LIMIT: usize = 256;

/// Reads a JSON body of at most so many bytes.
pub(crate) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Answer<T> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        return Err(
            Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type_unsupported")
                .with("wanted", "application/json"),
        );
    }
    let too_large =
        || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large").with("limit", limit);
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            // axum's LengthLimitError is not public; this is what it says.
            if error.to_string().contains("length limit exceeded") {
                return too_large();
            }
            cause = error.source();
        }
        Failure::bad_request("the body did not arrive")
    })?;
    parse(&bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let mut unknown = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_ignored::deserialize(&mut reader, |path| unknown.push(path.to_string()))
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    reader
        .end()
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    if let Some(first) = unknown.first() {
        return Err(Failure::bad_request(format!("unknown field `{first}`")));
    }
    Ok(value)
}

/// Reason and ticket become annotations of nodes and lines in logs: of bounded length, without control characters.
pub(crate) fn check_words(reason: &str, ticket: Option<&str>) -> Answer<()> {
    for (name, text, limit) in [
        ("reason", reason, REASON_LIMIT),
        ("ticket", ticket.unwrap_or_default(), TICKET_LIMIT),
    ] {
        if text.len() > limit {
            return Err(Failure::bad_request(format!(
                "{name} has more than {limit} bytes"
            )));
        }
        if text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
        {
            return Err(Failure::bad_request(format!(
                "{name} holds a control character"
            )));
        }
    }
    Ok(())
}

/// The one parameter of a path.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        Ok(Self(text))
    }
}

/// The two parameters of a path.
pub(crate) struct Segments(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        Ok(Self(first, second))
    }
}

/// The query.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(value) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::DrainBody;

    #[test]
    fn a_misspelt_option_is_an_error_however_deep() {
        let detail = |text: &str| {
            let failure = parse::<DrainBody>(text.as_bytes()).unwrap_err();
            assert_eq!(failure.status, 400);
            failure.body.params["detail"].as_str().unwrap().to_owned()
        };
        let deep = r#"{"nodes":["a"],"options":{"deadlines":{"node":5}}}"#;
        assert_eq!(detail(deep), "unknown field `options.deadlines.node`");
        let option = r#"{"nodes":["a"],"options":{"ignore_daemonset":true}}"#;
        assert_eq!(detail(option), "unknown field `options.ignore_daemonset`");
        assert!(detail(r#"{"nodes":["a"],"node":1}"#).contains("node"));
        assert!(detail(r#"{"nodes":["a"]} x"#).contains("trailing"));
        assert!(parse::<DrainBody>(br#"{"nodes":["a"],"options":{"force":true}}"#).is_ok());
    }

    #[test]
    fn words_are_bounded_and_printable() {
        assert!(check_words("kernel 升级\n(second line)", Some("OPS-1")).is_ok());
        assert!(check_words(&"x".repeat(REASON_LIMIT + 1), None).is_err());
        assert!(check_words("a\u{1b}[31m", None).is_err());
        assert!(check_words("", Some("a\0")).is_err());
    }
}
