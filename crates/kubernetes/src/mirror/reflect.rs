//! One list and watch. Not `kube::runtime::watcher`: that one starts streaming lists at `resourceVersion=0`, which lets a
//! lagging API server answer with an old picture — pods missing from it would count as gone. Lists here ask for a
//! consistent read (no resourceVersion: API concepts, "Semantics for get and list" and "Streaming lists").

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::core::Status;
use model::{ResourceVersion, Text};
use tokio::sync::mpsc;

use super::convert::Mirrored;
use super::intern::Interner;
use super::resources::Source;
use super::tables::Event;
use super::wire;

/// Objects in a page, as client-go does.
const PAGE: u32 = 500;
/// What a watch asks the server for; it ends the watch after that.
const WATCH_SECONDS: u32 = 290;
/// How soon a kind that may not be read is tried again.
const GAP_RETRY: Duration = Duration::from_secs(60);
/// After so many refusals in a row by the server a watch does not resume but lists anew.
const RELIST_AFTER: u32 = 3;

/// How a round of reading ended.
enum End {
    /// The server or the connection ended the stream; go on from where it was.
    Ended,
    /// The version to go on from is too old: list anew.
    Expired,
    /// This server does not do streaming lists.
    NoStreaming,
    /// It failed.
    Failed(kube::Error),
    /// Nobody listens any more.
    Closed,
}

impl From<kube::Error> for End {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if expired(status) => Self::Expired,
            _ => Self::Failed(error),
        }
    }
}

impl<T> From<mpsc::error::SendError<T>> for End {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Closed
    }
}

fn expired(status: &Status) -> bool {
    status.code == 410 || status.reason == "Expired" || status.reason == "Gone"
}

pub(crate) type Sender = mpsc::Sender<(usize, Event)>;

/// How to read.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// Lists come as a stream of events rather than in pages.
    pub(crate) streaming: bool,
    /// A connection on which nothing comes for longer is dead. API servers send bookmarks every minute and end a list
    /// after one (`--request-timeout`).
    pub(crate) silence: Duration,
}

pub(crate) struct Reflector<T> {
    client: Client,
    source: Source,
    number: usize,
    style: Style,
    interner: Interner,
    events: Sender,
    /// Where the watch goes on; `None` before the first list and when it must be done anew.
    resume: Option<String>,
    /// Something arrived since the last failure.
    healthy: bool,
    wire: std::marker::PhantomData<fn() -> T>,
}

impl<T: Mirrored> Reflector<T> {
    pub(crate) fn new(
        client: Client,
        source: Source,
        number: usize,
        style: Style,
        events: Sender,
    ) -> Self {
        Self {
            client,
            source,
            number,
            style,
            interner: Interner::default(),
            events,
            resume: None,
            healthy: false,
            wire: std::marker::PhantomData,
        }
    }

    /// Reads until nobody listens.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut refusals = 0;
        loop {
            self.healthy = false;
            let end = match self.round().await {
                Ok(()) => End::Ended,
                Err(end) => end,
            };
            if self.healthy {
                backoff = Backoff::default();
                refusals = 0;
            }
            let wait = match end {
                End::Closed => return,
                // A server that ends watches at once must not be asked in a loop.
                End::Ended if self.healthy => Duration::ZERO,
                End::Ended => backoff.next(),
                End::Expired => {
                    self.resume = None;
                    if self.healthy {
                        Duration::ZERO
                    } else {
                        backoff.next()
                    }
                }
                End::NoStreaming => {
                    self.style.streaming = false;
                    Duration::ZERO
                }
                End::Failed(error) => {
                    let words = Text::from(crate::refusal::words(&error));
                    let gap = matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404 | 405));
                    if let kube::Error::Api(status) = &error
                        && !matches!(status.code, 429 | 503)
                    {
                        refusals += 1;
                    }
                    if gap || refusals >= RELIST_AFTER {
                        self.resume = None;
                        refusals = 0;
                    }
                    tracing::debug!(kind = ?self.source.kind, error = %words, "watch failed");
                    let event = if gap {
                        Event::Gap(words)
                    } else {
                        Event::Trouble(words)
                    };
                    if self.send(event).await.is_err() {
                        return;
                    }
                    let required = super::resources::is_required(self.source.kind);
                    if gap && !required {
                        GAP_RETRY
                    } else {
                        backoff.next()
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.events.closed() => return,
            }
        }
    }

    async fn round(&mut self) -> Result<(), End> {
        match self.resume.clone() {
            Some(version) => self.watch(&version, false).await,
            None if self.style.streaming => self.watch("", true).await,
            None => {
                self.list().await?;
                let version = self.resume.clone().unwrap_or_default();
                self.watch(&version, false).await
            }
        }
    }

    async fn send(&self, event: Event) -> Result<(), End> {
        Ok(self.events.send((self.number, event)).await?)
    }

    /// A paged list. When a continue token expires meanwhile, the list is done again in one piece, as client-go's pager
    /// does.
    async fn list(&mut self) -> Result<(), End> {
        match self.pages(Some(PAGE)).await {
            Err(End::Expired) => self.pages(None).await,
            end => end,
        }
    }

    async fn pages(&mut self, limit: Option<u32>) -> Result<(), End> {
        self.send(Event::Listing).await?;
        let mut params = ListParams {
            limit,
            ..ListParams::default()
        };
        loop {
            let request = Request::new(&self.source.path)
                .list(&params)
                .map_err(kube::Error::BuildRequest)?;
            let page = tokio::time::timeout(
                self.style.silence,
                self.client.request::<wire::Page<T>>(request),
            );
            let page = page
                .await
                .map_err(|_| End::Failed(silent(self.style.silence)))??;
            self.healthy = true;
            for object in page.items {
                let fact = object.fact(self.source.kind, &mut self.interner);
                self.send(Event::Fact(fact)).await?;
            }
            if page.metadata.r#continue.is_empty() {
                let version = page.metadata.resource_version;
                self.send(Event::Listed(ResourceVersion::parse(&version)))
                    .await?;
                self.resume = Some(version);
                return Ok(());
            }
            params.continue_token = Some(page.metadata.r#continue);
        }
    }

    /// A watch from a version, or with `initial` a streaming list and then the watch.
    async fn watch(&mut self, version: &str, initial: bool) -> Result<(), End> {
        // Spread over a minute, so that watches of many kinds and programs do not end together.
        let timeout = Some(WATCH_SECONDS + (random() % 60) as u32);
        let params = WatchParams {
            timeout,
            send_initial_events: initial,
            ..WatchParams::default()
        };
        let request = Request::new(&self.source.path)
            .watch(&params, version)
            .map_err(kube::Error::BuildRequest)?;
        let stream =
            tokio::time::timeout(self.style.silence, self.client.request_events::<T>(request));
        let stream = match stream
            .await
            .map_err(|_| End::Failed(silent(self.style.silence)))?
        {
            Err(kube::Error::Api(status)) if initial && matches!(status.code, 400 | 422) => {
                return Err(End::NoStreaming);
            }
            stream => stream?,
        };
        let mut stream = pin!(stream);
        let mut listing = initial;
        if listing {
            self.send(Event::Listing).await?;
        }
        loop {
            let next = match tokio::time::timeout(self.style.silence, stream.next()).await {
                // A list may start slowly, but it is not silent for as long.
                Err(_) => {
                    return if listing {
                        Err(End::Failed(silent(self.style.silence)))
                    } else {
                        Ok(())
                    };
                }
                Ok(None) if listing => return Err(End::Failed(cut_off())),
                Ok(None) => return Ok(()),
                Ok(Some(event)) => event?,
            };
            match next {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let version = object.version().to_owned();
                    let fact = object.fact(self.source.kind, &mut self.interner);
                    self.send(Event::Fact(fact)).await?;
                    self.advance(listing, version);
                }
                WatchEvent::Deleted(object) => {
                    let version = object.version().to_owned();
                    let fact = object.fact(self.source.kind, &mut self.interner);
                    self.send(Event::Gone(fact)).await?;
                    self.advance(listing, version);
                }
                WatchEvent::Bookmark(bookmark) => {
                    let version = bookmark.metadata.resource_version;
                    let parsed = ResourceVersion::parse(&version);
                    if listing
                        && bookmark
                            .metadata
                            .annotations
                            .contains_key("k8s.io/initial-events-end")
                    {
                        listing = false;
                        self.send(Event::Listed(parsed)).await?;
                    } else {
                        self.send(Event::Progress(parsed)).await?;
                    }
                    self.advance(listing, version);
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            }
        }
    }

    fn advance(&mut self, listing: bool, version: String) {
        self.healthy = true;
        if !listing {
            self.resume = Some(version);
        }
    }
}

fn silent(after: Duration) -> kube::Error {
    kube::Error::ReadEvents(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("no answer for {} s", after.as_secs()),
    ))
}

fn cut_off() -> kube::Error {
    kube::Error::ReadEvents(std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        "the stream ended before the list was complete",
    ))
}

/// 64 random bits from the standard library's hash seed.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Waits that double from 0.1 s to 10 s, each shortened by up to half at random.
#[derive(Default)]
struct Backoff {
    tries: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let millis = (100_u64 << self.tries.min(7)).min(10_000);
        self.tries += 1;
        Duration::from_millis(millis / 2 + random() % (millis / 2))
    }
}
