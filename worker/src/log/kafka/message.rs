//! A message that librdkafka lends: read in place, given back when dropped.

use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use rdkafka::bindings as ffi;

use super::client::Client;
use super::errors::text;
use crate::log::Header;

/// One fetched message. It may be handed from thread to thread, but is not shared: reading headers parses them in place.
pub(crate) struct Message {
    raw: NonNull<ffi::rd_kafka_message_t>,
    loan: NonNull<Account>,
}

// SAFETY: librdkafka's messages are tied to no thread; the account is atomic and what it holds is Send and Sync.
unsafe impl Send for Message {}

impl Message {
    /// # Safety
    ///
    /// `raw` is a fetched message without error, not destroyed yet and from here on only used here; `loans` has lent it.
    pub(super) unsafe fn new(raw: NonNull<ffi::rd_kafka_message_t>, loans: &Loans) -> Self {
        Self { raw, loan: loans.0 }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.raw().offset
    }

    pub(crate) fn timestamp(&self) -> i64 {
        let mut kind = ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is ours until dropped.
        unsafe { ffi::rd_kafka_message_timestamp(self.raw.as_ptr(), &mut kind) }
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is ours until dropped.
        unsafe { ffi::rd_kafka_message_leader_epoch(self.raw.as_ptr()) }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let message = self.raw();
        // SAFETY: key and length are the message's, and live as long as it.
        unsafe { bytes(message.key, message.key_len) }
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let message = self.raw();
        // SAFETY: payload and length are the message's, and live as long as it.
        unsafe { bytes(message.payload, message.len) }
    }

    pub(crate) fn headers(&self) -> Vec<Header> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is ours, and not shared with another thread; the headers live as long as it.
        if unsafe { ffi::rd_kafka_message_headers(self.raw.as_ptr(), &mut headers) } as i32 != 0 {
            return Vec::new();
        }
        let header = |at| {
            let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: `headers` was returned above; name and value live as long as the message, and are copied here.
            unsafe {
                let end = ffi::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut len) as i32 != 0;
                (!end).then(|| (text(name), bytes(value, len).map(<[u8]>::to_vec)))
            }
        };
        (0..).map_while(header).collect()
    }

    fn raw(&self) -> &ffi::rd_kafka_message_t {
        // SAFETY: the message is ours until dropped.
        unsafe { self.raw.as_ref() }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours and not used afterwards; the loan is given back after it, once.
        unsafe {
            ffi::rd_kafka_message_destroy(self.raw.as_ptr());
            give_back(self.loan, 1);
        }
    }
}

/// # Safety
///
/// `start` is null, or `len` bytes from it live as long as the returned slice.
unsafe fn bytes<'a>(start: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), len) })
}

/// Keeps a client alive while messages of one fetch are out, at the price of one uncontended decrement per message: an `Arc` in
/// each would cost twice that. A client that is destroyed under its messages is undefined behaviour.
pub(super) struct Loans(NonNull<Account>);

struct Account {
    /// Messages out, and one for the owner.
    open: AtomicUsize,
    _client: Arc<Client>,
}

// SAFETY: the account is atomic and what it holds is Send and Sync.
unsafe impl Send for Loans {}

impl Loans {
    pub fn new(client: Arc<Client>) -> Self {
        Self(NonNull::from(Box::leak(Box::new(Account { open: AtomicUsize::new(1), _client: client }))))
    }

    /// `n` messages are about to be lent.
    pub fn lend(&self, n: usize) {
        // SAFETY: the account lives while its owner does.
        unsafe { self.0.as_ref() }.open.fetch_add(n, Ordering::Relaxed);
    }

    /// `n` of them were not lent after all.
    pub fn take_back(&self, n: usize) {
        // SAFETY: they were lent, to nobody.
        unsafe { give_back(self.0, n) }
    }
}

impl Drop for Loans {
    fn drop(&mut self) {
        // SAFETY: the owner's own share, given back once.
        unsafe { give_back(self.0, 1) }
    }
}

/// # Safety
///
/// The caller has `n` shares of the account and doesn't use it afterwards.
unsafe fn give_back(account: NonNull<Account>, n: usize) {
    // SAFETY: the account lives until its last share is given back. As in `Arc`: whatever was done under the other shares
    // happens before the account goes.
    unsafe {
        if account.as_ref().open.fetch_sub(n, Ordering::Release) == n {
            fence(Ordering::Acquire);
            drop(Box::from_raw(account.as_ptr()));
        }
    }
}
