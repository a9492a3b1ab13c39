//! What a failed call means. Texts as kube-apiserver 1.33–1.36 writes them (`registry/core/pod/storage/eviction.go`,
//! `apiserver/pkg/admission`, `apiserver/pkg/endpoints/handlers/responsewriters/errors.go`).

use std::error::Error as _;

use kube::core::Status;
use model::Refusal;
use model::Text;

use crate::connect::LoginError;

/// What an error of a call means to an operation. The request may have been carried out when this is
/// [`Refusal::Unavailable`]; nothing was done in every other case.
pub fn refusal(error: &kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) => refusal_of_status(status),
        // A login program failed, or a token file cannot be read.
        _ if LoginError::behind(error).is_some() => Refusal::Unauthorized {
            message: words(error).into(),
        },
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Refusal::Rejected {
            status: 0,
            message: words(error).into(),
        },
        _ => Refusal::Unavailable {
            message: words(error).into(),
        },
    }
}

/// The error in words: the server's own when it answered, else the chain of causes.
pub fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return if status.message.is_empty() {
            format!("HTTP {} {}", status.code, status.reason)
                .trim_end()
                .to_owned()
        } else {
            status.message.clone()
        };
    }
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split_once(after)?.0)
}

/// Who denied, when the text is a denial by admission: whatever status the policy or webhook chose.
fn denied_by(message: &str) -> Option<&str> {
    if message.contains("denied request") {
        for kind in ["ValidatingAdmissionPolicy '", "MutatingAdmissionPolicy '"] {
            if let Some(name) = between(message, kind, "'") {
                return Some(name);
            }
        }
    }
    if message.contains("denied the request") {
        return between(message, "admission webhook \"", "\"");
    }
    None
}

/// RBAC and other authorizers: `forbidden: User "u" cannot VERB resource "r" in API group "g" …`.
fn is_by_authorizer(message: &str) -> bool {
    between(message, " cannot ", "").is_some()
        && (message.contains(" resource \"")
            || message.contains(" get path \"")
            || message.contains(" path \""))
}

fn refusal_of_status(status: &Status) -> Refusal {
    let message: Text = status.message.as_str().into();
    let details = status.details.as_ref();
    let causes = details
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    let retry_after_seconds = details.map_or(0, |details| details.retry_after_seconds);
    let kind = details.map_or("", |details| details.kind.as_str());

    if let Some(by) = denied_by(&message) {
        return Refusal::Denied {
            by: by.into(),
            message,
        };
    }
    match status.code {
        401 => Refusal::Unauthorized { message },
        403 => {
            if causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
            {
                Refusal::NamespaceTerminating
            } else if kind == "poddisruptionbudgets" || kind == "poddisruptionbudget" {
                budget_status(details.map_or("", |details| &details.name), message)
            } else if is_by_authorizer(&message) {
                Refusal::Forbidden { message }
            } else {
                Refusal::Denied {
                    by: "".into(),
                    message,
                }
            }
        }
        404 => match kind {
            // The budget went away while the eviction took its turn at it.
            "poddisruptionbudgets" => Refusal::BudgetLags {
                retry_after_seconds: 1,
                message,
            },
            _ if status.reason == "NotFound"
                && details.is_some_and(|details| !details.name.is_empty()) =>
            {
                Refusal::Gone
            }
            _ => Refusal::Rejected {
                status: 404,
                message,
            },
        },
        409 => Refusal::Changed { message },
        422 if causes.iter().any(|cause| cause.field == "metadata.uid") => {
            Refusal::Changed { message }
        }
        429 => match causes
            .iter()
            .find(|cause| cause.reason == "DisruptionBudget")
        {
            Some(cause) if retry_after_seconds > 0 => Refusal::BudgetLags {
                retry_after_seconds,
                message: cause.message.as_str().into(),
            },
            Some(cause) => Refusal::Budget {
                budget: between(&cause.message, "The disruption budget ", " ").map(Text::from),
                message: cause.message.as_str().into(),
            },
            None if message.contains("disruption budget") => match retry_after_seconds {
                0 => Refusal::Budget {
                    budget: None,
                    message,
                },
                retry_after_seconds => Refusal::BudgetLags {
                    retry_after_seconds,
                    message,
                },
            },
            None => Refusal::Unavailable {
                message: or(message, "the API server is overloaded (429)"),
            },
        },
        500 if message.contains("more than one PodDisruptionBudget") => {
            Refusal::TwoBudgets { message }
        }
        504 if message.contains("couldn't update PodDisruptionBudget") => Refusal::BudgetLags {
            retry_after_seconds: retry_after_seconds.max(1),
            message,
        },
        500.. => Refusal::Unavailable {
            message: or(message, "the API server failed"),
        },
        408 => Refusal::Unavailable { message },
        code => Refusal::Rejected {
            status: code,
            message,
        },
    }
}

/// 403 from the eviction handler itself, about the budget's status.
fn budget_status(name: &str, message: Text) -> Refusal {
    if message.contains("too big") {
        // More than 2,000 evictions that the disruption controller has not confirmed.
        Refusal::BudgetLags {
            retry_after_seconds: 10,
            message,
        }
    } else {
        Refusal::Budget {
            budget: (!name.is_empty()).then(|| name.into()),
            message,
        }
    }
}

fn or(message: Text, otherwise: &str) -> Text {
    if message.is_empty() {
        otherwise.into()
    } else {
        message
    }
}

#[cfg(test)]
mod tests;
