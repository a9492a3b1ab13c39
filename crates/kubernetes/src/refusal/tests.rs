use super::*;
use serde_json::{Value, json};

fn check(status: Value, expected: Refusal) {
    let status: Status = serde_json::from_value(status).unwrap();
    assert_eq!(
        refusal(&kube::Error::Api(status.clone().boxed())),
        expected,
        "{status:?}"
    );
}

fn text(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "message": message})
}

#[test]
fn a_budget_without_room() {
    let cause = "The disruption budget b needs 1 healthy pods and has 1 currently";
    let status = json!({"kind": "Status", "status": "Failure", "reason": "TooManyRequests", "code": 429,
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "details": {"causes": [{"reason": "DisruptionBudget", "message": cause}]}});
    check(
        status,
        Refusal::Budget {
            budget: Some("b".into()),
            message: cause.into(),
        },
    );
}

#[test]
fn a_budget_whose_status_lags() {
    let cause = "The disruption budget b is still being processed by the server.";
    let status = json!({"kind": "Status", "status": "Failure", "reason": "TooManyRequests", "code": 429,
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "details": {"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget", "message": cause}]}});
    check(
        status,
        Refusal::BudgetLags {
            retry_after_seconds: 10,
            message: cause.into(),
        },
    );

    let message = "couldn't update PodDisruptionBudget \"b\" due to conflicts";
    let status = json!({"code": 504, "reason": "Timeout", "message": message, "details": {"retryAfterSeconds": 10}});
    check(
        status,
        Refusal::BudgetLags {
            retry_after_seconds: 10,
            message: message.into(),
        },
    );

    let message = "poddisruptionbudget.policy \"b\" is forbidden: DisruptedPods map too big - too many evictions not \
                   confirmed by PDB controller";
    let status = json!({"code": 403, "reason": "Forbidden", "message": message,
        "details": {"name": "b", "group": "policy", "kind": "poddisruptionbudget"}});
    check(
        status,
        Refusal::BudgetLags {
            retry_after_seconds: 10,
            message: message.into(),
        },
    );
}

#[test]
fn an_overloaded_server_is_not_a_budget() {
    let message = "too many requests, please try again later";
    let status = json!({"code": 429, "reason": "TooManyRequests", "message": message,
        "details": {"retryAfterSeconds": 1}});
    check(
        status,
        Refusal::Unavailable {
            message: message.into(),
        },
    );
    // kube's own words for a body that is no Status.
    check(
        text(429, "Too many requests, please try again later."),
        Refusal::Unavailable {
            message: "Too many requests, please try again later.".into(),
        },
    );
}

#[test]
fn two_budgets() {
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    check(
        text(500, message),
        Refusal::TwoBudgets {
            message: message.into(),
        },
    );
}

#[test]
fn forbidden_by_the_authorizer() {
    for message in [
        "pods \"web-1\" is forbidden: User \"alice\" cannot create resource \"pods/eviction\" in API group \"\" in the \
         namespace \"shop\"",
        "nodes is forbidden: User \"system:serviceaccount:a:b\" cannot list resource \"nodes\" in API group \"\" at the \
         cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io \"x\" not found",
        "users \"alice\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the \
         cluster scope",
        "forbidden: User \"alice\" cannot get path \"/version\"",
    ] {
        check(
            text(403, message),
            Refusal::Forbidden {
                message: message.into(),
            },
        );
    }
}

#[test]
fn denied_by_admission_whatever_the_status() {
    let cases = [
        (
            403,
            "pub",
            "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'pub' with binding 'pub' denied request: \
                      pub unavailable allowed is negative",
        ),
        (
            422,
            "p",
            "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'q' denied request: no",
        ),
        (
            403,
            "pods.kruise.io",
            "admission webhook \"pods.kruise.io\" denied the request: pub unavailable allowed is \
                                 negative",
        ),
        (
            500,
            "drain.strimzi.io",
            "admission webhook \"drain.strimzi.io\" denied the request: the pod will be rolled",
        ),
        (
            429,
            "w",
            "admission webhook \"w\" denied the request: slowly",
        ),
        (
            403,
            "w",
            "admission webhook \"w\" denied the request without explanation",
        ),
        (403, "", "pub unavailable allowed is negative"),
        (
            403,
            "",
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces",
        ),
    ];
    for (code, by, message) in cases {
        check(
            text(code, message),
            Refusal::Denied {
                by: by.into(),
                message: message.into(),
            },
        );
    }
}

#[test]
fn a_failing_webhook_is_no_verdict() {
    let message = "Internal error occurred: failed calling webhook \"w.x\": failed to call webhook: Post \
                   \"https://w.x.svc:443/validate?timeout=10s\": context deadline exceeded";
    check(
        text(500, message),
        Refusal::Unavailable {
            message: message.into(),
        },
    );
}

#[test]
fn the_namespace_goes() {
    let status = json!({"code": 403, "reason": "Forbidden", "message": "x is forbidden: unable to create new content in \
        namespace a because it is being terminated",
        "details": {"causes": [{"reason": "NamespaceTerminating", "message": "namespace a is being terminated"}]}});
    check(status, Refusal::NamespaceTerminating);
}

#[test]
fn changed_and_gone() {
    let message = "Operation cannot be fulfilled on pods \"web-1\": Precondition failed: UID in precondition: a, UID in \
                   object meta: b";
    check(
        text(409, message),
        Refusal::Changed {
            message: message.into(),
        },
    );
    let status = json!({"code": 404, "reason": "NotFound", "message": "pods \"web-1\" not found",
        "details": {"name": "web-1", "kind": "pods"}});
    check(status, Refusal::Gone);
    let message = "the server could not find the requested resource";
    let status = json!({"code": 404, "reason": "NotFound", "message": message, "details": {}});
    check(
        status,
        Refusal::Rejected {
            status: 404,
            message: message.into(),
        },
    );
    check(
        text(401, "Unauthorized"),
        Refusal::Unauthorized {
            message: "Unauthorized".into(),
        },
    );
    check(
        text(400, "bad"),
        Refusal::Rejected {
            status: 400,
            message: "bad".into(),
        },
    );
    check(
        text(503, ""),
        Refusal::Unavailable {
            message: "the API server failed".into(),
        },
    );
}
