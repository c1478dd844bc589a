//! What reading a topic costs by itself: rdkafka in batches through the C API, every record looked at and dropped.
#![allow(clippy::disallowed_methods, reason = "measures from outside; nothing here is simulated")]

use std::env;
use std::time::Instant;

use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, error::KafkaResult};

const BATCH: usize = 1024;

fn main() -> KafkaResult<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [brokers, topic, records] = arguments.as_slice() else { panic!("usage: bench-read BROKERS TOPIC RECORDS") };
    let records: u64 = records.parse().expect("a number of records");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-read")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), std::time::Duration::from_secs(30))?;
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    // SAFETY: the consumer lives to the end of the process, and the queue with it.
    let queue = unsafe { ffi::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    let mut batch = vec![std::ptr::null_mut(); BATCH];
    let (mut done, mut bytes, mut warm) = (0, 0, None);
    while done < records {
        // SAFETY: `batch` has room for BATCH pointers; those returned are ours until destroyed below.
        let taken = unsafe { ffi::rd_kafka_consume_batch_queue(queue, 100, batch.as_mut_ptr(), BATCH) }.max(0) as usize;
        for &message in &batch[..taken] {
            // SAFETY: a message of the batch, ours, and not used after it is destroyed.
            unsafe {
                if (*message).err == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    done += 1;
                    bytes += (*message).len + (*message).key_len;
                }
                ffi::rd_kafka_message_destroy(message);
            }
        }
        if done >= records / 4 {
            warm.get_or_insert_with(|| (done, Instant::now(), cpu_seconds()));
        }
    }
    let (before, since, cpu) = warm.expect("a quarter comes before the end");
    println!(
        r#"{{"records": {done}, "bytes": {bytes}, "records_warm": {}, "seconds_warm": {}, "cpu_seconds_warm": {}}}"#,
        done - before,
        since.elapsed().as_secs_f64(),
        cpu_seconds() - cpu
    );
    Ok(())
}

fn cpu_seconds() -> f64 {
    // SAFETY: an all-zero rusage is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid, writable rusage.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
