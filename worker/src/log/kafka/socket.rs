//! The producer's sockets: what is given up must not land.
//!
//! When a request isn't answered in time, librdkafka gives its records up and closes the connection. By itself that doesn't take the
//! bytes back: the kernel goes on trying to get them through for a minute or more, also after the process has gone, and if the network
//! was cut they land when it is mended – over those of the partition's next owner, who had long been told that they can't come any more.

use std::ffi::{c_int, c_void};

/// A socket that throws away what isn't through yet when it is closed, by whomever.
pub(super) unsafe extern "C" fn that_delivers_nothing_late(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    _opaque: *mut c_void,
) -> c_int {
    // SAFETY: plain system calls; the option's value lives as long as the call, and the size is its own.
    unsafe {
        let socket = libc::socket(domain, kind, protocol);
        if socket >= 0 {
            libc::fcntl(socket, libc::F_SETFD, libc::FD_CLOEXEC);
            let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
            let size = size_of::<libc::linger>() as libc::socklen_t;
            libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const at_once).cast(), size);
        }
        socket
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::FromRawFd;

    use super::*;

    #[test]
    fn what_is_closed_is_reset() {
        let far = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: all zeros are an address of no family.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = far.local_addr().unwrap().port().to_be();
        address.sin_addr.s_addr = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
        // SAFETY: the address is whole and lives as long as the call; the socket is owned at once.
        let mut near = unsafe {
            let socket = that_delivers_nothing_late(libc::AF_INET, libc::SOCK_STREAM, 0, std::ptr::null_mut());
            let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            assert_eq!(libc::connect(socket, (&raw const address).cast(), size), 0);
            TcpStream::from_raw_fd(socket)
        };
        let (mut far, _) = far.accept().unwrap();
        let mut read = [0; 5];
        near.write_all(b"whole").unwrap();
        far.read_exact(&mut read).unwrap();
        drop(near);
        assert_eq!(far.read(&mut read).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
