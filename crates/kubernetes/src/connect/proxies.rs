//! Which proxy leads to a server: `proxy-url` of the kubeconfig, else the environment by the rules of Go's
//! `golang.org/x/net/http/httpproxy` (v0.49.0), which client-go follows.

use std::net::IpAddr;

use base64::Engine as _;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `CONNECT` in the clear.
    Http,
    /// `CONNECT` in TLS.
    Https,
    /// SOCKS 5; the proxy resolves names.
    Socks,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) kind: Kind,
    /// Scheme, host and port, without user and password.
    pub(super) url: Uri,
    /// User and password, decoded.
    pub(super) login: Option<(String, String)>,
}

impl Proxy {
    /// Reads a URL such as `socks5://user:pass@host:1080`.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("\"{text}\" has no scheme (http, https or socks5)"))?;
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" => (Kind::Socks, 1080),
            _ => {
                return Err(format!(
                    "scheme {scheme} is not one of http, https and socks5"
                ));
            }
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let address: Authority = address
            .parse()
            .map_err(|_| "it has no valid host".to_owned())?;
        if address.host().is_empty() {
            return Err("it has no valid host".to_owned());
        }
        let with_port = match address.port_u16() {
            Some(_) => address,
            None => format!("{}:{port}", address.host())
                .parse()
                .map_err(|_| "it has no valid host".to_owned())?,
        };
        let scheme = match kind {
            Kind::Https => Scheme::HTTPS,
            // Only host and port are read of it.
            Kind::Http | Kind::Socks => Scheme::HTTP,
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(with_port);
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        let url = Uri::from_parts(parts).map_err(|error| error.to_string())?;
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (percent_decode(user), percent_decode(password))
        });
        Ok(Self { kind, url, login })
    }

    /// The value of `Proxy-Authorization`.
    pub(super) fn basic(&self) -> Option<http::HeaderValue> {
        let (user, password) = self.login.as_ref()?;
        let plain = format!("{user}:{password}");
        let coded = base64::engine::general_purpose::STANDARD.encode(plain);
        let mut value = http::HeaderValue::try_from(format!("Basic {coded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        if first == b'%'
            && let [high, low, tail @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            && let Ok(byte) = u8::try_from(high * 16 + low)
        {
            bytes.push(byte);
            rest = tail;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The proxy that the environment names for a server, if any. `variable` looks one up.
///
/// # Errors
/// The variable and why its URL is none.
pub(super) fn by_environment(
    server: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let either = |upper: &str| {
        let lower = upper.to_ascii_lowercase();
        set(upper)
            .map(|value| (upper.to_owned(), value))
            .or_else(|| set(&lower).map(|value| (lower.clone(), value)))
    };
    let https = server.scheme() == Some(&Scheme::HTTPS);
    let Some((name, url)) = either(if https { "HTTPS_PROXY" } else { "HTTP_PROXY" }) else {
        return Ok(None);
    };
    // A CGI program's HTTP_PROXY is a header of its caller.
    if !https && set("REQUEST_METHOD").is_some() {
        return Err(format!("{name} does not count where REQUEST_METHOD is set"));
    }
    let no_proxy = either("NO_PROXY").map(|(_, list)| list).unwrap_or_default();
    let port = server.port_u16().unwrap_or(if https { 443 } else { 80 });
    if !goes_by_proxy(server.host().unwrap_or_default(), port, &no_proxy) {
        return Ok(None);
    }
    let parsed = match Proxy::parse(&url) {
        Err(_) if !url.contains("://") => Proxy::parse(&format!("http://{url}")),
        parsed => parsed,
    };
    parsed
        .map(Some)
        .map_err(|reason| format!("{name} is not a proxy's URL: {reason}"))
}

/// `useProxy` of httpproxy: loopback never; else unless an entry of `NO_PROXY` matches.
fn goes_by_proxy(host: &str, port: u16, no_proxy: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    if host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
        return false;
    }
    !no_proxy
        .split(',')
        .map(|entry| entry.trim().to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| matches(&entry, &host, address, port))
}

fn matches(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((net, bits)) = entry.split_once('/')
        && let (Ok(net), Ok(bits)) = (net.parse(), bits.parse())
    {
        return address.is_some_and(|ip| contains(net, bits, ip));
    }
    let (entry, entry_port) = split_port(entry);
    if entry_port.is_some_and(|wanted| wanted != port.to_string()) {
        return false;
    }
    if let Ok(ip) = entry.parse::<IpAddr>() {
        return address == Some(ip.to_canonical());
    }
    if address.is_some() || entry.is_empty() {
        return false;
    }
    // `foo.com` and its subdomains; `.foo.com` and `*.foo.com` only the subdomains.
    match entry.strip_prefix("*.").or(entry.strip_prefix('.')) {
        Some(domain) => is_below(host, domain),
        None => host == entry || is_below(host, entry),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'))
}

/// `host:port`, `[v6]:port`, or without port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some(rest) = entry.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':'));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

fn contains(net: IpAddr, bits: u32, ip: IpAddr) -> bool {
    match (net.to_canonical(), ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            net.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            net.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_no_proxy(no_proxy: &str, host: &str, by_proxy: bool) {
        assert_eq!(
            goes_by_proxy(host, 6443, no_proxy),
            by_proxy,
            "{no_proxy:?} {host}"
        );
    }

    #[test]
    fn no_proxy_as_go_reads_it() {
        check_no_proxy("", "localhost", false);
        check_no_proxy("", "127.8.0.1", false);
        check_no_proxy("", "[::1]", false);
        check_no_proxy("", "::ffff:127.0.0.1", false);
        check_no_proxy("", "10.0.0.1", true);
        check_no_proxy("*", "api.example.com", false);
        check_no_proxy(" , ,*", "10.0.0.1", false);
        check_no_proxy("10.0.0.0/8", "10.3.0.1", false);
        check_no_proxy("10.0.0.0/33", "10.3.0.1", true);
        check_no_proxy("0.0.0.0/0", "10.3.0.1", false);
        check_no_proxy("10.0.0.0/8", "api.example.com", true);
        check_no_proxy("fd00::/8", "[fd00::7]", false);
        check_no_proxy("10.0.0.1", "10.0.0.1", false);
        check_no_proxy("10.0.0.1:6443", "10.0.0.1", false);
        check_no_proxy("10.0.0.1:443", "10.0.0.1", true);
        check_no_proxy("[fd00::7]:6443", "[fd00::7]", false);
        check_no_proxy("fd00::7", "[fd00::7]", false);
        check_no_proxy("example.com", "api.example.com", false);
        check_no_proxy("example.com", "example.com", false);
        check_no_proxy("example.com", "badexample.com", true);
        check_no_proxy(".example.com", "example.com", true);
        check_no_proxy(".example.com", "API.Example.com", false);
        check_no_proxy("*.example.com", "api.example.com", false);
        check_no_proxy("*.example.com", "example.com", true);
        check_no_proxy("example.com:443", "api.example.com", true);
        check_no_proxy("example.com:6443", "api.example.com", false);
        check_no_proxy(":6443", "api.example.com", true);
        check_no_proxy("10.", "10.0.0.1", true);
    }

    #[track_caller]
    fn check_url(text: &str, expected: &str) {
        let seen = Proxy::parse(text).map(|proxy| {
            let at = proxy.url.authority().map_or("", Authority::as_str);
            let login = proxy
                .login
                .map(|(user, password)| format!(" as {user} {password}"));
            format!("{:?} {at}{}", proxy.kind, login.unwrap_or_default())
        });
        assert_eq!(seen.unwrap_or_default(), expected, "{text}");
    }

    #[test]
    fn urls_of_proxies() {
        check_url("http://p", "Http p:80");
        check_url("https://p:3129/", "Https p:3129");
        check_url("socks5://[::1]", "Socks [::1]:1080");
        check_url("socks5h://u:p%40%3Aw%zz@h:1", "Socks h:1 as u p@:w%zz");
        check_url("http://u@h", "Http h:80 as u ");
        for wrong in [
            "",
            "p:3128",
            "ftp://p",
            "http://",
            "http://u:p@",
            "http://a b",
        ] {
            check_url(wrong, "");
        }
    }

    #[track_caller]
    fn check_environment(
        server: &'static str,
        set: &[(&str, &str)],
        expected: Result<Option<&str>, ()>,
    ) {
        let look = |name: &str| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let proxy = by_environment(&Uri::from_static(server), look);
        let host = proxy
            .as_ref()
            .map(|proxy| proxy.as_ref().and_then(|proxy| proxy.url.host()))
            .map_err(|_| ());
        assert_eq!(host, expected, "{server} {set:?}");
    }

    #[test]
    fn the_environment_by_scheme_and_case() {
        let server = "https://10.0.0.1:6443";
        check_environment(server, &[], Ok(None));
        check_environment(server, &[("HTTPS_PROXY", "http://p:1")], Ok(Some("p")));
        check_environment(server, &[("https_proxy", "p:1")], Ok(Some("p")));
        check_environment(server, &[("HTTPS_PROXY", "socks5://p:1")], Ok(Some("p")));
        check_environment(
            server,
            &[("HTTPS_PROXY", "http://p"), ("https_proxy", "http://q")],
            Ok(Some("p")),
        );
        check_environment(server, &[("HTTP_PROXY", "http://p:1")], Ok(None));
        check_environment(server, &[("ALL_PROXY", "http://p:1")], Ok(None));
        check_environment(
            server,
            &[("HTTPS_PROXY", "http://p"), ("no_proxy", "10.0.0.0/8")],
            Ok(None),
        );
        check_environment(server, &[("HTTPS_PROXY", "http:// p")], Err(()));
        check_environment(
            "http://10.0.0.1",
            &[("HTTP_PROXY", "http://p:1")],
            Ok(Some("p")),
        );
        check_environment(
            "http://10.0.0.1",
            &[("HTTP_PROXY", "http://p"), ("REQUEST_METHOD", "GET")],
            Err(()),
        );
    }
}
