//! The cloud, as far as Cloud Assistant needs it: checks signatures, runs each command with a token once, for real on
//! this machine, and loses its first answer to every new command.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use host::Probe;
use serde_json::{Value, json};

use super::sign::{self, Request};
use super::{CloudAssistant, Credentials, Ecs, InstanceId};
use crate::error::HostError;
use crate::way::Way;

#[derive(Default)]
struct Cloud {
    /// Output of each command, by its token.
    ran: HashMap<String, String>,
    /// How often a command was run, and how often it was asked for.
    runs: usize,
    asked: usize,
}

type Shared = Arc<Mutex<Cloud>>;

const SECRET: &str = "the cloud's secret";

async fn api(
    State(cloud): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signed = headers.keys().map(|name| name.as_str());
    let signed = signed.filter(|name| *name == "host" || name.starts_with("x-acs-"));
    let signed = signed.map(|name| (name.to_owned(), text(name))).collect();
    let request = Request {
        method: "POST",
        query: &query,
        headers: &signed,
        body: b"",
    };
    if text("authorization") != sign::authorization(&request, "key", SECRET) {
        let body = json!({"Code": "SignatureDoesNotMatch", "Message": "no"});
        return (StatusCode::BAD_REQUEST, Json(body));
    }
    match text("x-acs-action").as_str() {
        "RunCommand" => run(&cloud, &query),
        _ => {
            let output = &cloud.lock().unwrap().ran[&query["InvokeId"]];
            let result = json!({"InvocationStatus": "Success", "Output": output, "Dropped": 0});
            let results = json!({"InvocationResult": [result]});
            let body = json!({"Invocation": {"InvocationResults": results}});
            (StatusCode::OK, Json(body))
        }
    }
}

fn run(cloud: &Shared, query: &BTreeMap<String, String>) -> (StatusCode, Json<Value>) {
    let token = query["ClientToken"].clone();
    let mut cloud = cloud.lock().unwrap();
    let cloud = &mut *cloud;
    cloud.asked += 1;
    if let Entry::Vacant(new) = cloud.ran.entry(token.clone()) {
        let content = BASE64_STANDARD.decode(&query["CommandContent"]).unwrap();
        assert!(
            query["CommandContent"].len() <= 24 << 10,
            "more than the cloud takes"
        );
        let content = String::from_utf8(content).unwrap();
        let done = std::process::Command::new("sh")
            .args(["-c", &content])
            .output();
        let output = BASE64_STANDARD.encode(done.unwrap().stdout);
        new.insert(output);
        cloud.runs += 1;
        // It has run, and nobody is told.
        return (StatusCode::BAD_GATEWAY, Json(json!({})));
    }
    (StatusCode::OK, Json(json!({"InvokeId": token})))
}

async fn start() -> (Shared, String) {
    let cloud = Shared::default();
    let router = Router::new()
        .route("/", post(api))
        .with_state(cloud.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (cloud, endpoint)
}

fn assistant(endpoint: &str, secret: &str) -> Way {
    let credentials = Credentials {
        key: "key".to_owned(),
        secret: secret.to_owned(),
        security_token: None,
    };
    let ecs = Ecs::new(credentials, Some(endpoint.to_owned())).unwrap();
    let instance = InstanceId::from_provider_id("cn-hangzhou.i-bp1").unwrap();
    Way::CloudAssistant(CloudAssistant::new(ecs, instance))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_by_the_cloud_is_run_once_though_its_answer_is_lost() {
    let (cloud, endpoint) = start().await;
    let probes = [Probe::Files, Probe::Mounts];
    let look = assistant(&endpoint, SECRET).look(&probes).await.unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(look.facts.boot.unwrap().as_str(), boot.trim());
    assert!(!look.facts.mounts.is_empty());
    let cloud = cloud.lock().unwrap();
    assert_eq!((cloud.runs, cloud.asked), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clouds_refusal_is_told_and_the_secret_is_not() {
    let (cloud, endpoint) = start().await;
    let wrong = "not the secret";
    let error = assistant(&endpoint, wrong).look(&[Probe::Files]).await;
    let error = error.unwrap_err();
    assert!(matches!(&error, HostError::Cloud { code, .. } if code == "SignatureDoesNotMatch"));
    let shown = format!("{error} {error:?} {:?}", assistant(&endpoint, wrong));
    assert!(!shown.contains(wrong), "{shown}");
    assert_eq!(cloud.lock().unwrap().runs, 0);
}

#[test]
fn provider_ids() {
    for good in ["cn-beijing.i-2ze1", "alicloud://cn-beijing.i-2ze1"] {
        let instance = InstanceId::from_provider_id(good).unwrap();
        assert_eq!(instance.to_string(), "i-2ze1");
    }
    for bad in [
        "",
        "i-2ze1",
        "aws:///eu-1a/i-1",
        "cn-beijing.i-1;x",
        "cn/x.i-1",
        "cn.x-1",
    ] {
        assert!(InstanceId::from_provider_id(bad).is_err(), "{bad}");
    }
}
