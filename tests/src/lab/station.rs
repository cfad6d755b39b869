//! A station that is only frames: it sends what it is told, honest or not, and asks who has an address.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind};
use portolan_proto::ethernet::MacAddr;
use socket2::{Domain, Socket, Type};

use super::address::Dual;
use super::frames;
use super::netns::Netns;

/// Raw Ethernet on one link of a namespace, to send only.
pub struct Station {
    socket: Socket,
    mac: MacAddr,
}

impl Station {
    pub(super) fn open(netns: &Netns, link: &str) -> Result<Self> {
        netns.enter(|| {
            // Protocol 0: nothing is received.
            let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("packet socket")?;
            let address = link_address(link)?;
            bind(socket.as_raw_fd(), &address).context("binding the packet socket")?;
            let mac = MacAddr(
                address
                    .addr()
                    .context("a link without a hardware address")?,
            );
            Ok(Self { socket, mac })
        })?
    }

    /// The hardware address of the link.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// When the link is down.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        (&self.socket).write_all(frame).context("sending a frame")
    }

    /// Asks everybody who has these addresses, `every` so often, until the questioner is dropped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn question(self, from: Dual, vips: Vec<IpAddr>, every: Duration) -> Result<Questioner> {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let ask = move || {
            while !until.load(Ordering::Relaxed) {
                for vip in &vips {
                    let frame = frames::question(self.mac, from.of_family(*vip), *vip);
                    // The link may be down for a while: that is what is being tried.
                    let _lost = self.send(&frame);
                }
                std::thread::sleep(every);
            }
        };
        let thread = std::thread::Builder::new()
            .name("questioner".into())
            .spawn(ask);
        let thread = Some(thread.context("starting the questioner")?);
        Ok(Questioner { stop, thread })
    }
}

/// Asks who has some addresses until it is dropped.
pub struct Questioner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Questioner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// From the kernel's own list, because no safe interface builds one from an index.
fn link_address(link: &str) -> Result<LinkAddr> {
    let mut all = getifaddrs().context("listing links")?;
    all.find_map(|entry| {
        let address = entry.address.filter(|_| entry.interface_name == link)?;
        address.as_link_addr().copied()
    })
    .ok_or_else(|| anyhow!("no link {link}"))
}
