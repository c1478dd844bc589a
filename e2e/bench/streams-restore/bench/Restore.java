package bench;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Restores the table of the frozen count-by-key from a changelog that is there already, and says what it cost from the first quarter of
 * the records on. Usage: {@code Restore BROKERS APPLICATION INPUT RECORDS}; the changelog is {@code APPLICATION-counts-changelog}.
 */
public final class Restore {
    private record Mark(long records, double cpu, long nanos) {
        static Mark at(long records) {
            var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
            return new Mark(records, system.getProcessCpuTime() / 1e9, System.nanoTime());
        }
    }

    public static void main(String[] args) throws Exception {
        String brokers = args[0], application = args[1], input = args[2];
        long records = Long.parseLong(args[3]);
        Path state = Files.createTempDirectory("kafka-streams-restore");

        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());

        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input, Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));

        AtomicLong restored = new AtomicLong();
        CountDownLatch done = new CountDownLatch(1);
        Mark[] warm = new Mark[1];
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        streams.setGlobalStateRestoreListener(new StateRestoreListener() {
            @Override
            public void onRestoreStart(TopicPartition partition, String store, long start, long end) {}

            @Override
            public void onBatchRestored(TopicPartition partition, String store, long end, long batch) {
                long n = restored.addAndGet(batch);
                synchronized (warm) {
                    if (warm[0] == null && n >= records / 4) {
                        warm[0] = Mark.at(n);
                    }
                }
                if (n >= records) {
                    done.countDown();
                }
            }

            @Override
            public void onRestoreEnd(TopicPartition partition, String store, long total) {}
        });
        streams.start();
        done.await();
        Mark end = Mark.at(restored.get());
        // The next round's worker joins the same group, and would wait for this one's session to end.
        var leave = CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
        streams.close(leave.withTimeout(Duration.ofSeconds(60)));
        System.out.printf("{\"records\":%d,\"records_warm\":%d,\"seconds_warm\":%.4f,\"cpu_seconds_warm\":%.4f}%n",
            end.records, end.records - warm[0].records, (end.nanos - warm[0].nanos) / 1e9, end.cpu - warm[0].cpu);
        try (var files = Files.walk(state)) {
            files.sorted(java.util.Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
        }
    }
}
