//! What a pod itself answers, through the API server: it needs no way to the pod's network, and the caller's own rights
//! (`get pods/proxy`) decide.

use std::time::Duration;

use futures::AsyncReadExt as _;
use http::Request;
use kube::Client;
use model::ObjectKey;
use model::Refusal;
use tokio::time::timeout;

use crate::connect::Cluster;
use crate::percent_encode;
use crate::refusal::refusal;

/// How long a pod may take. Who asks waits for it, and knows enough to answer without.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most of an answer that is read, in bytes.
const LIMIT: u64 = 4 << 20;

impl Cluster {
    /// The metrics a pod tells at a port.
    ///
    /// # Errors
    /// The refusal of the API server or of the pod behind it; no whole answer within three seconds; more than 4 MiB.
    pub async fn pod_metrics(&self, pod: &ObjectKey, port: u16) -> Result<String, Refusal> {
        let [namespace, name] = [&pod.namespace, &pod.name].map(|part| percent_encode(part));
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
        // Of the two clients the one that does not ask again: the deadline is for one answer.
        get(&self.writer, &path, PATIENCE, LIMIT).await
    }
}

async fn get(
    client: &Client,
    path: &str,
    patience: Duration,
    limit: u64,
) -> Result<String, Refusal> {
    let unavailable = |message: String| Refusal::Unavailable {
        message: message.into(),
    };
    let request = Request::get(path).header(http::header::ACCEPT, "text/plain");
    let request = request
        .body(Vec::new())
        .map_err(|error| unavailable(error.to_string()))?;
    let answer = async {
        let body = client.request_stream(request).await;
        let body = body.map_err(|error| refusal(&error))?;
        let mut bytes = Vec::new();
        let read = body.take(limit + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| unavailable(error.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(Refusal::Rejected {
                status: 200,
                message: format!("more than {limit} bytes").into(),
            });
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let late = format!("no answer within {} s", patience.as_secs_f32());
    timeout(patience, answer)
        .await
        .unwrap_or_else(|_| Err(unavailable(late)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PATH: &str = "/api/v1/namespaces/a/pods/b:9100/proxy/metrics";

    /// Asks a server that answers once and keeps the connection.
    async fn answers(answer: String, patience: Duration) -> Result<String, Refusal> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            assert!(
                asked.starts_with(&format!("GET {PATH} HTTP/1.1")),
                "{asked}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            std::future::pending::<Infallible>().await
        };
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        tokio::select! {
            // First, so that who has given up is not served.
            biased;
            got = get(&client, PATH, patience, 64) => got,
            never = serve => match never {},
        }
    }

    fn http(status: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn an_answer_is_bounded_in_time_and_size() {
        const LONG: Duration = Duration::from_secs(20);
        let text = "node_load1 0.5\n";
        assert_eq!(
            answers(http("200 OK", text), LONG).await.as_deref(),
            Ok(text)
        );
        let large = answers(http("200 OK", &"x".repeat(65)), LONG).await;
        assert!(
            matches!(large, Err(Refusal::Rejected { status: 200, .. })),
            "{large:?}"
        );
        let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"b\" is forbidden: User \"u\" cannot get resource \"pods/proxy\" in API group \"\" in the namespace \"a\"","reason":"Forbidden","code":403}"#;
        let forbidden = answers(http("403 Forbidden", status), LONG).await;
        assert!(
            matches!(forbidden, Err(Refusal::Forbidden { .. })),
            "{forbidden:?}"
        );
        // It begins, and does not end; on a busy machine it may not even begin.
        let begun = "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nnode_load1".to_owned();
        let late = answers(begun, Duration::from_millis(200)).await;
        assert!(matches!(late, Err(Refusal::Unavailable { .. })), "{late:?}");
    }
}
