# What people type. Every target does its own set-up; the work is in scripts/ and in cargo.

.PHONY: help demo kafka kafka-down kafka-status test test-unit test-kafka bench env

help:
	@echo 'make demo          count page views in this terminal: no broker, no C++ build'
	@echo 'make kafka         start a Kafka broker to try things on (kafka-status, kafka-down)'
	@echo 'make test          everything that is tested: test-unit, then test-kafka'
	@echo 'make test-unit     formatting, lints, unit, property and doc tests'
	@echo 'make test-kafka    the tests on a real broker, which it starts and stops itself'
	@echo 'make bench         the worker beside a hand-written loop, in one run'
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

test:
	@scripts/setup.sh test
	@scripts/test.sh unit kafka

test-unit:
	@scripts/setup.sh test
	@scripts/test.sh unit

test-kafka:
	@scripts/setup.sh test
	@scripts/test.sh kafka

bench:
	@scripts/setup.sh test
	@scripts/bench.sh

env:
	@scripts/env.sh
