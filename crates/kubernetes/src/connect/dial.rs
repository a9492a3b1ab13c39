//! From a URL to a connection: straight, or by a proxy.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use tower::{BoxError, Service};

use super::proxies::{Kind, Proxy};

/// Bytes both ways.
trait Bytes: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Bytes for T {}

/// A connection to a server or to the proxy that speaks for it.
pub(super) struct Line {
    bytes: Box<dyn Bytes>,
    /// Requests name the server themselves, as a proxy wants them that is not tunnelled through.
    absolute: bool,
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.absolute)
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write_vectored(context, parts)
    }
}

/// Dials.
#[derive(Clone)]
pub(super) struct Dialer {
    straight: HttpConnector,
    /// To a proxy that speaks TLS.
    secured: HttpsConnector<HttpConnector>,
    proxy: Option<Proxy>,
    /// How long it may take until the connection stands, proxy included.
    patience: Duration,
}

impl Dialer {
    pub(super) fn new(tls: rustls::ClientConfig, proxy: Option<Proxy>, patience: Duration) -> Self {
        let mut straight = HttpConnector::new();
        straight.enforce_http(false);
        straight.set_nodelay(true);
        straight.set_keepalive(Some(Duration::from_secs(30)));
        straight.set_connect_timeout(Some(patience));
        let secured = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(straight.clone());
        Self {
            straight,
            secured,
            proxy,
            patience,
        }
    }

    async fn dial(self, target: Uri) -> Result<Line, BoxError> {
        let tunnelled = |bytes: Box<dyn Bytes>| Line {
            bytes,
            absolute: false,
        };
        let Self {
            mut straight,
            mut secured,
            ..
        } = self;
        let Some(proxy) = self.proxy else {
            return Ok(tunnelled(Box::new(straight.call(target).await?)));
        };
        let basic = proxy.basic();
        let plain = target.scheme() == Some(&Scheme::HTTP);
        let line = match proxy.kind {
            Kind::Socks => {
                let mut socks = SocksV5::new(proxy.url, straight);
                if let Some((user, password)) = proxy.login {
                    socks = socks.with_auth(user, password);
                }
                tunnelled(Box::new(socks.call(target).await?))
            }
            Kind::Http if plain => Line {
                bytes: Box::new(straight.call(proxy.url).await?),
                absolute: true,
            },
            Kind::Https if plain => Line {
                bytes: Box::new(secured.call(proxy.url).await?),
                absolute: true,
            },
            Kind::Http => {
                let mut tunnel = Tunnel::new(proxy.url, straight);
                if let Some(basic) = basic {
                    tunnel = tunnel.with_auth(basic);
                }
                tunnelled(Box::new(tunnel.call(target).await?))
            }
            Kind::Https => {
                let mut tunnel = Tunnel::new(proxy.url, secured);
                if let Some(basic) = basic {
                    tunnel = tunnel.with_auth(basic);
                }
                tunnelled(Box::new(tunnel.call(target).await?))
            }
        };
        Ok(line)
    }
}

impl Service<Uri> for Dialer {
    type Response = Line;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let patience = dialer.patience;
            let by = dialer.proxy.as_ref().map(|proxy| proxy.url.clone());
            let line = tokio::time::timeout(patience, dialer.dial(target)).await;
            let line = line.unwrap_or_else(|_| {
                Err(format!("no connection within {} s", patience.as_secs_f32()).into())
            });
            match (line, by) {
                (Err(error), Some(by)) => Err(Box::new(ByProxy(by, error)) as BoxError),
                (line, _) => line,
            }
        })
    }
}

/// What went wrong on the way by a proxy.
#[derive(Debug, thiserror::Error)]
#[error("by proxy {}", .0.authority().map_or("", http::uri::Authority::as_str))]
struct ByProxy(Uri, #[source] BoxError);
