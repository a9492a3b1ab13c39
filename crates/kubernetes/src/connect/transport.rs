//! From a request to an answer: the way to the server, the credentials, and once more with fresh ones after a 401.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use rustls::pki_types::ServerName;
use tower::{BoxError, Layer as _, ServiceBuilder, retry::RetryLayer};
use tower_http::decompression::DecompressionLayer;

use super::dial::Dialer;
use super::login::{Held, Login};

type Connections = Pool<HttpsConnector<Dialer>, Body>;

/// The way to a server and who asks there. Cloning is cheap and shares connections.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    server: Uri,
    tls: rustls::ClientConfig,
    server_name: Option<ServerName<'static>>,
    dialer: Dialer,
    login: Option<Arc<Login>>,
    compressed: bool,
    /// Connections, and the client's certificate they were made with.
    pool: Mutex<(Connections, u64)>,
}

/// What a transport is made of.
pub(super) struct Parts {
    pub(super) server: Uri,
    pub(super) tls: rustls::ClientConfig,
    /// Another name than the URL's in the server's certificate.
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) dialer: Dialer,
    /// `None`: nobody; callers bring their own.
    pub(super) login: Option<Arc<Login>>,
    /// Whether answers may come compressed.
    pub(super) compressed: bool,
}

impl Transport {
    pub(super) fn new(parts: Parts) -> Self {
        let pool = pool(&parts.tls, parts.server_name.as_ref(), &parts.dialer);
        Self(Arc::new(Inner {
            server: parts.server,
            tls: parts.tls,
            server_name: parts.server_name,
            dialer: parts.dialer,
            login: parts.login,
            compressed: parts.compressed,
            pool: Mutex::new((pool, 0)),
        }))
    }

    /// A client of this transport. One that retries asks again by itself where the server says it is overloaded
    /// (429, 503, 504).
    pub(super) fn client(&self, retries: bool) -> Client {
        let answers = DecompressionLayer::new()
            .no_br()
            .no_deflate()
            .no_zstd()
            .gzip(self.0.compressed)
            .layer(self.clone());
        let service = ServiceBuilder::new()
            .option_layer(retries.then(|| RetryLayer::new(RetryPolicy::server_retry())))
            .service(answers);
        Client::new(service, "default")
    }

    /// Connections that show the client's certificate of `held`.
    fn connections(&self, held: &Held) -> Connections {
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.1 < held.identity {
            let inner = &self.0;
            pool.0 = self::pool(&inner.tls, inner.server_name.as_ref(), &inner.dialer);
            pool.1 = held.identity;
        }
        pool.0.clone()
    }

    async fn held(&self) -> Result<Held, BoxError> {
        Ok(match &self.0.login {
            Some(login) => login.current().await?,
            None => Held::default(),
        })
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        *request.uri_mut() = at(&self.0.server, request.uri())?;
        let agent = HeaderValue::from_static(concat!(
            "refloat/",
            env!("CARGO_PKG_VERSION"),
            " (kubernetes client)"
        ));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        let brought = request.headers().contains_key(AUTHORIZATION);
        let held = self.held().await?;
        // Bodies are in memory, so they can be sent twice.
        let again = request.body().try_clone().map(|body| {
            let mut again = Request::new(body);
            *again.method_mut() = request.method().clone();
            *again.uri_mut() = request.uri().clone();
            *again.headers_mut() = request.headers().clone();
            again
        });
        if let (false, Some(header)) = (brought, &held.header) {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        let answer = self.connections(&held).request(request).await?;
        let (StatusCode::UNAUTHORIZED, false, Some(login), Some(mut again)) =
            (answer.status(), brought, &self.0.login, again)
        else {
            return Ok(answer);
        };
        // Nothing was done for somebody who is not known, so it may be sent once more.
        let fresh = login.renewed(held.generation).await?;
        if fresh.header == held.header && fresh.identity == held.identity {
            return Ok(answer);
        }
        if let Some(header) = &fresh.header {
            again.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        Ok(self.connections(&fresh).request(again).await?)
    }
}

impl tower::Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

fn pool(
    tls: &rustls::ClientConfig,
    server_name: Option<&ServerName<'static>>,
    dialer: &Dialer,
) -> Connections {
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http();
    let connector = match server_name {
        Some(name) => builder
            .with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
            .enable_http1()
            .wrap_connector(dialer.clone()),
        None => builder.enable_http1().wrap_connector(dialer.clone()),
    };
    Pool::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .build(connector)
}

/// A path at a server whose URL may have one, too.
fn at(server: &Uri, path: &Uri) -> Result<Uri, BoxError> {
    let mut parts = server.clone().into_parts();
    let before = server.path().trim_end_matches('/');
    let after = path
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    parts.path_and_query = Some(format!("{before}{after}").parse()?);
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(server: &'static str, path: &'static str, expected: &str) {
        let uri = at(&Uri::from_static(server), &Uri::from_static(path)).unwrap();
        assert_eq!(uri.to_string(), expected);
    }

    #[test]
    fn paths_come_after_the_servers() {
        check("https://a:1", "/version", "https://a:1/version");
        check("https://a:1/", "/api/v1?a=b", "https://a:1/api/v1?a=b");
        check("https://a/k8s/c-x", "/version", "https://a/k8s/c-x/version");
        check(
            "https://a/k8s/c-x/",
            "/version",
            "https://a/k8s/c-x/version",
        );
    }
}
