//! The cables between each worker and each broker, to be cut and mended one by one.
//!
//! Each is a port that passes on to a listener of the broker, which tells its clients that port. A cut cable is like a network that
//! drops packets: it loses nothing and closes nothing, and what was sent arrives when it is mended, also from a sender that has closed
//! its end meanwhile – unless it took back what was not through, as a socket does that is closed by a reset.
#![allow(clippy::disallowed_methods, reason = "the outside world has threads of its own")]

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener as Listener, TcpStream};
use tokio::sync::{oneshot, watch};

/// A port that nobody passes on from yet.
pub struct Plug {
    listener: TcpListener,
    pub port: u16,
}

impl Plug {
    pub fn new() -> io::Result<Plug> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok(Plug { listener, port })
    }
}

/// Cables that lie; dropped, they are gone.
pub struct Cables {
    whole: Vec<watch::Sender<bool>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Cables {
    /// From each plug to the port behind it.
    pub fn lay(plugs: Vec<(Plug, u16)>) -> io::Result<Cables> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (mut whole, mut ends) = (Vec::new(), Vec::new());
        for (plug, behind) in plugs {
            let (switch, is_whole) = watch::channel(true);
            whole.push(switch);
            ends.push((plug, behind, is_whole));
        }
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                for (plug, behind, is_whole) in ends {
                    let listener = Listener::from_std(plug.listener).expect("a listener that doesn't block");
                    tokio::spawn(accept(listener, behind, is_whole));
                }
                let _ = stopped.await;
            });
        });
        Ok(Cables { whole, stop: Some(stop), thread: Some(thread) })
    }

    /// By the plugs' order.
    pub fn cut(&self, cable: usize) {
        self.whole[cable].send_replace(false);
    }

    pub fn mend(&self, cable: usize) {
        self.whole[cable].send_replace(true);
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: Listener, behind: u16, whole: watch::Receiver<bool>) {
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(carry(near, behind, whole.clone()));
    }
}

/// One connection, until either end closes it.
async fn carry(near: TcpStream, behind: u16, whole: watch::Receiver<bool>) -> io::Result<()> {
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
    tokio::try_join!(pass(near_out, far_in, whole.clone()), pass(far_out, near_in, whole)).map(drop)
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        let _ = whole.wait_for(|whole| *whole).await;
        if let Some(reset) = from.as_ref().take_error()? {
            return Err(reset);
        }
        match length {
            0 => return to.shutdown().await,
            _ => to.write_all(&buffer[..length]).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_sent_through_a_cut_cable_arrives_when_it_is_mended() {
        let far = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (one, other) = (Plug::new().unwrap(), Plug::new().unwrap());
        let (port, behind) = (one.port, far.local_addr().unwrap().port());
        let cables = Cables::lay(vec![(one, behind), (other, behind)]).unwrap();
        let mut near = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (mut far, _) = far.accept().unwrap();
        let mut arrived = [0; 5];

        near.write_all(b"whole").unwrap();
        far.read_exact(&mut arrived).unwrap();
        cables.cut(1);
        near.write_all(b"other").unwrap();
        far.read_exact(&mut arrived).unwrap();

        cables.cut(0);
        near.write_all(b"later").unwrap();
        far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(far.read_exact(&mut arrived).unwrap_err().kind(), ErrorKind::WouldBlock);
        cables.mend(0);
        far.set_read_timeout(None).unwrap();
        far.read_exact(&mut arrived).unwrap();
        assert_eq!(&arrived, b"later");
        drop(far);
        assert_eq!(near.read(&mut arrived).unwrap(), 0);
    }

    #[test]
    fn what_its_sender_closed_behind_arrives_and_what_it_took_back_does_not() {
        for (takes_back, arrives) in [(false, &b"late"[..]), (true, b"")] {
            let far = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let plug = Plug::new().unwrap();
            let port = plug.port;
            let cables = Cables::lay(vec![(plug, far.local_addr().unwrap().port())]).unwrap();
            let mut near = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (mut far, _) = far.accept().unwrap();
            cables.cut(0);
            near.write_all(b"late").unwrap();
            if takes_back {
                let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
                let size = size_of::<libc::linger>() as libc::socklen_t;
                // SAFETY: the descriptor is open, the value lives as long as the call, and the size is its own.
                let set = unsafe {
                    libc::setsockopt(near.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const at_once).cast(), size)
                };
                assert_eq!(set, 0);
            }
            drop(near);
            cables.mend(0);
            let mut arrived = Vec::new();
            let _ = far.read_to_end(&mut arrived);
            assert_eq!(arrived, arrives);
        }
    }
}
