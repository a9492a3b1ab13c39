//! A client that adds headers to another one's requests: the same connections, another caller.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use kube::Client;
use kube::client::Body;

#[derive(Clone)]
struct WithHeaders {
    inner: Client,
    headers: Arc<HeaderMap>,
}

impl tower::Service<Request<Body>> for WithHeaders {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for (name, value) in self.headers.iter() {
            request.headers_mut().append(name.clone(), value.clone());
        }
        let inner = self.inner.clone();
        Box::pin(async move { inner.send(request).await })
    }
}

/// The client with these headers on every request.
pub(crate) fn with_headers(client: &Client, headers: HeaderMap) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(
        WithHeaders {
            inner: client.clone(),
            headers: Arc::new(headers),
        },
        namespace,
    )
}
