# What people type. Every target does its own set-up; the work is in scripts/ and in cargo.

.PHONY: help demo kafka kafka-down kafka-status cluster cluster-down cluster-status images \
  setup-apiserver test test-unit test-kafka test-apiserver test-e2e sim chaos bench env

help:
	@echo 'make demo             count page views in this terminal: no broker, no C++ build'
	@echo 'make kafka            start a Kafka broker to try things on (kafka-status, kafka-down)'
	@echo 'make cluster          start a one-node Kubernetes with its own Kafka (cluster-status, cluster-down); needs root'
	@echo 'make images           build the worker, the example and the operator as images, into the cluster'
	@echo 'make test             everything but the cluster: test-unit, test-kafka, test-apiserver'
	@echo 'make test-unit        formatting, lints, unit, property and doc tests'
	@echo 'make test-kafka       the tests on a real broker, which it starts and stops itself'
	@echo 'make test-apiserver   the tests on a real Kubernetes API server, each test program with its own'
	@echo 'make test-e2e         the tests on the cluster, which it starts and stops itself; needs root'
	@echo 'make sim SEEDS=10000  simulated clusters under faults, one per seed; SEED=… runs one and tells what happened'
	@echo 'make chaos MINUTES=30 faults of workers and brokers, one after the other, for so long; SEED=… repeats a run'
	@echo 'make bench            the worker beside a hand-written loop, Kafka Streams and faust-streaming, in one run'
	@echo 'eval "$$(make env)" lets cargo by hand use the same target directory'

demo:
	@scripts/setup.sh demo
	@scripts/cargo.sh run --package page-views --bin demo --no-default-features

kafka:
	@scripts/setup.sh kafka
	@scripts/kafka.sh up

kafka-down:
	@scripts/kafka.sh down

kafka-status:
	@scripts/kafka.sh status || [ $$? = 3 ]

cluster:
	@scripts/setup.sh cluster
	@e2e/testbed/cluster/cluster up

cluster-down:
	@e2e/testbed/cluster/cluster down

cluster-status:
	@e2e/testbed/cluster/cluster status || [ $$? = 3 ]

images: cluster
	@scripts/setup.sh test
	@scripts/images.sh

setup-apiserver:
	@scripts/setup.sh cluster
	@e2e/testbed/cluster/cluster build node helm

test:
	@scripts/setup.sh test
	@scripts/test.sh unit kafka apiserver

test-unit:
	@scripts/setup.sh test
	@scripts/test.sh unit

test-kafka:
	@scripts/setup.sh test
	@scripts/test.sh kafka

test-apiserver:
	@scripts/setup.sh test
	@scripts/test.sh apiserver

test-e2e:
	@scripts/setup.sh test
	@scripts/test.sh e2e

sim:
	@scripts/setup.sh test
	@SEEDS='$(or $(SEEDS),1000)' SEED='$(SEED)' FROM='$(or $(FROM),0)' scripts/sim.sh

chaos:
	@scripts/setup.sh test
	@MINUTES='$(MINUTES)' SEED='$(SEED)' scripts/chaos.sh

bench:
	@scripts/setup.sh bench
	@scripts/bench.sh

env:
	@scripts/env.sh
