#![no_main]

use relayfreellm::normalize::fuzz;

libfuzzer_sys::fuzz_target!(|data: &str| fuzz(data));
