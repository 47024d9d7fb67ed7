//! The server over real sockets, in front of a scripted chat service.

mod bodies;
mod calling;
mod connections;
mod routes;
mod streams;
mod support;
