//! The private network of a run: a bridge of its own, and a network namespace for each host.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::run::{attempt, program, run};

/// The first two numbers of every run's addresses; the third is the run's.
const PREFIX: [u8; 2] = [10, 231];
/// The same of pods. They are known to their own host alone, so that runs may share them.
const POD_PREFIX: [u8; 2] = [10, 233];
/// The last number of the first host's address.
const FIRST_HOST: u8 = 10;

/// The network of a run. The kernel has one bridge of a name, and so a number belongs to one run of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Network(u8);

/// One host's place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    network: Network,
    pub(super) address: Ipv4Addr,
    /// Of the host's end of the bridge on this machine, and of its network namespace.
    pub(super) link: String,
    pub(super) pods: String,
}

impl Network {
    /// Makes the bridge of a number that nobody has, neither another run nor a route of this machine.
    pub(super) fn claim() -> Result<Self> {
        let routes = run(&mut program("ip", ["-4", "route", "show", "table", "all"]))?;
        let start = std::process::id() as u8;
        for turn in 0..=u8::MAX {
            let network = Self(start.wrapping_mul(7).wrapping_add(turn));
            let [a, b, c, _] = network.gateway().octets();
            let is_free = !routes.contains(&format!("{a}.{b}.{c}."));
            let bridge = network.bridge();
            if is_free
                && attempt(&mut program(
                    "ip",
                    ["link", "add", &bridge, "type", "bridge"],
                ))
            {
                let up = network.bring_up();
                if up.is_err() {
                    network.release();
                }
                return up.map(|()| network);
            }
        }
        bail!(
            "no bridge for test hosts can be made: rights are missing, or all of {}.{}.0.0/16 is taken",
            PREFIX[0],
            PREFIX[1]
        )
    }

    fn bring_up(self) -> Result<()> {
        let address = format!("{}/24", self.gateway());
        let bridge = self.bridge();
        run(&mut program(
            "ip",
            ["addr", "add", &address, "dev", &bridge],
        ))?;
        run(&mut program("ip", ["link", "set", &bridge, "up"]))?;
        Ok(())
    }

    pub(super) fn release(self) {
        attempt(&mut program("ip", ["link", "del", &self.bridge()]));
    }

    /// The bridge; other things of the run are named after it, too.
    pub(super) fn bridge(self) -> String {
        format!("rfl{}", self.0)
    }

    /// This machine's address on the bridge.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::new(PREFIX[0], PREFIX[1], self.0, 1)
    }

    /// The place of the run's host with this number.
    pub(super) fn place(self, number: u8) -> Result<Place> {
        let Some(last) = FIRST_HOST.checked_add(number).filter(|last| *last < 255) else {
            bail!("a run has room for {} hosts", 255 - FIRST_HOST);
        };
        Ok(Place {
            network: self,
            address: Ipv4Addr::new(PREFIX[0], PREFIX[1], self.0, last),
            link: format!("{}-{number}", self.bridge()),
            pods: format!("{}.{}.{number}.0/24", POD_PREFIX[0], POD_PREFIX[1]),
        })
    }
}

impl Place {
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.network.gateway()
    }

    pub(super) fn bridge(&self) -> String {
        self.network.bridge()
    }

    /// The host's network namespace, as others of this machine reach it.
    pub(super) fn namespace_path(&self) -> String {
        format!("/run/netns/{}", self.link)
    }

    /// A network namespace without a past: no connection, rule or interface of an earlier boot.
    pub(super) fn create(&self) -> Result<()> {
        self.remove();
        let link = self.link.as_str();
        let ip = |args: &[&str]| run(&mut program("ip", args));
        ip(&["netns", "add", link])?;
        ip(&[
            "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", link,
        ])?;
        ip(&["link", "set", link, "master", &self.bridge(), "up"])?;
        let inside = |args: &[&str]| run(program("ip", ["-n", link]).args(args));
        inside(&["link", "set", "lo", "up"])?;
        inside(&["link", "set", "eth0", "up"])?;
        let address = format!("{}/24", self.address);
        inside(&["addr", "add", &address, "dev", "eth0"])?;
        let gateway = self.gateway().to_string();
        inside(&["route", "add", "default", "via", &gateway])?;
        Ok(())
    }

    pub(super) fn remove(&self) {
        attempt(&mut program("ip", ["link", "del", &self.link]));
        attempt(&mut program("ip", ["netns", "del", &self.link]));
    }

    /// Plugs the cable in or out, at this machine's end.
    pub(super) fn plug(&self, in_: bool) -> Result<()> {
        let state = if in_ { "up" } else { "down" };
        run(&mut program("ip", ["link", "set", &self.link, state])).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_meet_and_names_fit_the_kernel() {
        let network = Network(255);
        let places: Vec<Place> = (0..245).map(|n| network.place(n).unwrap()).collect();
        let addresses: std::collections::BTreeSet<_> = places.iter().map(|p| p.address).collect();
        assert_eq!(addresses.len(), places.len());
        assert!(!addresses.contains(&network.gateway()));
        assert!(places.iter().all(|place| place.link.len() < 16));
        assert!(network.place(245).is_err());
    }
}
