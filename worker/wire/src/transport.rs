//! From an address to the stream that a connection speaks on.

use std::iter::Peekable;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{Address, Config};
use crate::error::Error;
use crate::security::tls::{self, Failed};

/// What a connection speaks on.
pub(crate) type Stream = Box<dyn Duplex>;

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// How long the first of several ways may take before the next is tried beside it.
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);

/// Resolves the name and connects to the first of its addresses that answers. The error is a reason.
pub(crate) async fn dial(address: &Address) -> Result<TcpStream, String> {
    let resolved = lookup_host((address.host.as_str(), address.port)).await;
    let resolved: Vec<_> = resolved.map_err(|error| format!("its name can't be resolved: {error}"))?.collect();
    if resolved.is_empty() {
        return Err("its name resolves to no address".to_string());
    }
    let socket = connect(resolved).await?;
    // Requests are small and someone waits for each.
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    notice_silence(&socket).map_err(|error| error.to_string())?;
    Ok(socket)
}

/// Has the kernel end a connection whose other side is gone without a word.
///
/// The connection on which a member joins its group lies idle between rebalances. If something on the way has forgotten it, a JoinGroup
/// would wait for the length of a rebalance, while heartbeats on another connection keep the session: others get the tasks meanwhile.
fn notice_silence(socket: &TcpStream) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
        set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 5)?;
        set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 3)?;
        // Of what is sent and not acknowledged, and of probes; in milliseconds.
        set(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 15_000)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn set(socket: &TcpStream, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> std::io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open while the socket is borrowed, and the kernel reads `length` bytes at `value`, which outlives
    // the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Turns the bare socket into the stream that a connection speaks on, as the configuration says.
pub(crate) async fn secure(socket: TcpStream, address: &Address, config: &Config) -> Result<Stream, Error> {
    let Some(tls) = &config.security.tls else { return Ok(Box::new(socket)) };
    match tls::connect(socket, &address.host, tls).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(Failed::Untrusted(reason)) => Err(Error::Untrusted { address: address.to_string(), reason }),
        Err(Failed::Broken(reason)) => Err(Error::Unreachable { address: address.to_string(), reason }),
    }
}

async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, String> {
    let several = addresses.len() > 1;
    let attempts = addresses.into_iter().map(|address| async move {
        let named = |error: std::io::Error| if several { format!("{address}: {error}") } else { error.to_string() };
        TcpStream::connect(address).await.map_err(named)
    });
    first(attempts.peekable()).await.map_err(|reasons| reasons.join(", "))
}

/// The first success among attempts, each of which begins when an earlier one has failed or had its head start: something that
/// doesn't answer holds up the others only shortly. All else is dropped. On failure, why, in the order of failing.
pub(crate) async fn first<T, E, F>(mut attempts: Peekable<impl Iterator<Item = F>>) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    loop {
        if let Some(attempt) = attempts.next() {
            running.spawn(attempt);
        }
        let ended = match attempts.peek() {
            Some(_) => timeout(HEAD_START, running.join_next()).await,
            None => Ok(running.join_next().await),
        };
        match ended {
            Ok(Some(Ok(Ok(success)))) => return Ok(success),
            Ok(Some(Ok(Err(error)))) => failed.push(error),
            Ok(Some(Err(ended))) => std::panic::resume_unwind(ended.into_panic()),
            Ok(None) => return Err(failed),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::fake::nobody;

    fn socket_address(address: &Address) -> SocketAddr {
        address.to_string().parse().unwrap()
    }

    #[tokio::test]
    async fn a_name_with_several_addresses_is_reached_at_the_one_that_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let (_held, closed) = nobody();
        let socket = connect(vec![socket_address(&closed), open]).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), open);
    }

    #[tokio::test]
    async fn addresses_that_all_refuse_are_all_named() {
        let ((_held, a), (_held_too, b)) = (nobody(), nobody());
        let reason = connect(vec![socket_address(&a), socket_address(&b)]).await.unwrap_err();
        assert!(reason.contains(&a.to_string()) && reason.contains(&b.to_string()) && reason.contains("refused"), "{reason}");
    }

    #[tokio::test]
    async fn a_silent_attempt_holds_up_the_next_only_shortly() {
        let attempts = [true, false].map(|silent| async move {
            if silent {
                std::future::pending::<()>().await;
            }
            Ok::<_, ()>(silent)
        });
        assert_eq!(first(attempts.into_iter().peekable()).await, Ok(false));
    }

    #[tokio::test]
    async fn a_host_that_does_not_exist_is_said_to_have_no_name() {
        let address = "does-not-exist.invalid:9092".parse().unwrap();
        assert!(dial(&address).await.unwrap_err().contains("can't be resolved"));
    }
}
