//! A loopback port that stays ours while the broker that listens on it is down.
//!
//! A port that was only looked up may go to somebody else before the broker binds it, and while a broker is down a client that
//! keeps connecting to its port can even reach *itself*: the kernel may pick that very port as the source. A socket that is
//! bound, doesn't listen and allows reuse prevents both, and lets the broker (Java allows reuse) bind beside it.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A reserved port on 127.0.0.1; free again when dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _socket: OwnedFd,
}

impl Port {
    /// Any port that nobody uses.
    pub fn any() -> io::Result<Port> {
        Self::reserve(0)
    }

    /// This port if nobody uses it, else any.
    pub fn preferred(number: u16) -> io::Result<Port> {
        // Somebody may listen on all addresses or on IPv6's loopback, which "localhost" can mean as well.
        let free = TcpListener::bind(("0.0.0.0", number)).is_ok()
            && !matches!(TcpListener::bind(("::1", number)), Err(e) if e.kind() == io::ErrorKind::AddrInUse);
        if free { Self::reserve(number).or_else(|_| Self::any()) } else { Self::any() }
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    fn reserve(number: u16) -> io::Result<Port> {
        // SAFETY: plain system calls; the addresses and lengths are those of live local values, the descriptor is owned at once.
        unsafe {
            let fd = check(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
            let socket = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_in = zeroed();
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_port = number.to_be();
            address.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
            let mut length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            check(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length))?;
            // Only now: with reuse allowed before, two reservations could get one port.
            let yes: libc::c_int = 1;
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            check(libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, (&raw const yes).cast(), size))?;
            check(libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length))?;
            Ok(Port { number: u16::from_be(address.sin_port), _socket: socket })
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_reserved_port_can_be_listened_on_again_and_again_and_is_given_to_nobody_else() {
        let ports: Vec<Port> = (0..100).map(|_| Port::any().unwrap()).collect();
        assert_eq!(ports.iter().map(Port::number).collect::<BTreeSet<_>>().len(), 100);
        let port = &ports[0];
        for _ in 0..2 {
            drop(TcpListener::bind(("127.0.0.1", port.number())).unwrap());
        }
        assert_ne!(Port::preferred(port.number()).unwrap().number(), port.number());
    }
}
