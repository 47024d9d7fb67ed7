//! The dialect by its samples and by tables. Over sockets it is tested in `tests/it`, against the
//! simulated twin.

mod answers;
mod requests;
mod schemas;
