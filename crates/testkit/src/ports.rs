//! Loopback ports that no other control plane of this machine takes.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use tokio::net::TcpSocket;

use crate::files::target_dir;

/// Below the kernel's range for outgoing connections (32768 and up), so that none of those is in the way.
const FIRST: u16 = 21_000;
const COUNT: u16 = 8_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port, reserved among testkit's processes for as long as this lives.
///
/// A program outside of testkit can still take it: whoever starts a server on it must try again with another.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: File,
}

/// Reserves a free port.
pub(crate) fn reserve() -> Result<Port> {
    let dir = target_dir().join("control-planes/ports");
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let offset = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = FIRST + (offset.wrapping_mul(17).wrapping_add(turn)) % COUNT;
        let path = dir.join(number.to_string());
        let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        if lock.try_lock().is_ok() && is_free(number) {
            return Ok(Port {
                number,
                _lock: lock,
            });
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT)
}

/// Whether nobody listens there. The trial does not listen itself: a child that is between fork and exec would keep it
/// listening, and who reserved the port could not.
fn is_free(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpSocket::new_v4()
        .is_ok_and(|socket| socket.set_reuseaddr(true).is_ok() && socket.bind(address).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let ports: Vec<Port> = (0..50).map(|_| reserve().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(|port| port.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
    }

    #[test]
    fn a_port_somebody_listens_at_is_not_free() {
        let port = reserve().unwrap().number;
        assert!(is_free(port));
        let _listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
    }
}
