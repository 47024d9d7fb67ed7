//! The heads of a request and of its answer, as they stand on the wire.

use std::io;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};

use crate::provider::transport::framing::Framing;

/// Longest head of an answer that is read, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The most lines in it.
const MAX_LINES: usize = 100;

/// The head of an answer, and what it says of what follows.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// May the connection be used again after it?
    pub(super) keeps: bool,
}

impl Head {
    /// Takes a head from the beginning of what has been read; `None` while it is not whole. Answers
    /// that only say that another follows are passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn take(read: &mut BytesMut) -> io::Result<Option<Self>> {
        while !read.is_empty() {
            let Some(head) = Self::take_any(read)? else { return Ok(None) };
            match head.status.as_u16() {
                101 => return Err(bad("it wants to speak another protocol")),
                100..=199 => {}
                _ => return Ok(Some(head)),
            }
        }
        Ok(None)
    }

    fn take_any(read: &mut BytesMut) -> io::Result<Option<Self>> {
        let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut found = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut found, read, &mut lines)
            .map_err(|it| bad(&it.to_string()))?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let status = StatusCode::from_u16(found.code.unwrap_or_default())
            .map_err(|it| bad(&it.to_string()))?;
        let is_new = found.version == Some(1);
        let start = read.as_ptr() as usize;
        let places: Vec<(HeaderName, usize, usize)> = found
            .headers
            .iter()
            .map(|it| {
                let name = HeaderName::from_bytes(it.name.as_bytes());
                let value = it.value.as_ptr() as usize - start;
                Ok((name.map_err(|it| bad(&it.to_string()))?, value, value + it.value.len()))
            })
            .collect::<io::Result<_>>()?;
        let text = read.split_to(length).freeze();
        let mut headers = HeaderMap::with_capacity(places.len());
        for (name, start, end) in places {
            let value = HeaderValue::from_maybe_shared(text.slice(start..end));
            headers.append(name, value.map_err(|it| bad(&it.to_string()))?);
        }
        let framing = framing(status, &headers, is_new)?;
        let keeps = keeps(&headers, is_new) && framing != Framing::UntilClosed;
        Ok(Some(Self { status, headers, framing, keeps }))
    }
}

/// How the body is bounded (RFC 9112, 6.3).
fn framing(status: StatusCode, headers: &HeaderMap, is_new: bool) -> io::Result<Framing> {
    if matches!(status.as_u16(), 204 | 304) {
        return Ok(Framing::Length(0));
    }
    if let Some(coding) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if !is_new {
            return Err(bad("HTTP/1.0 knows no Transfer-Encoding"));
        }
        let last = coding.as_bytes().rsplit(|it| *it == b',').next().unwrap_or_default();
        return Ok(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            Framing::chunked()
        } else {
            Framing::UntilClosed
        });
    }
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    let mut lengths = lines.flat_map(|it| it.as_bytes().split(|it| *it == b','));
    let Some(first) = lengths.next() else { return Ok(Framing::UntilClosed) };
    let first = length(first)?;
    for other in lengths {
        if length(other)? != first {
            return Err(bad("it tells two lengths"));
        }
    }
    Ok(Framing::Length(first))
}

fn length(digits: &[u8]) -> io::Result<u64> {
    let digits = str::from_utf8(digits.trim_ascii()).unwrap_or_default();
    let plain = digits.bytes().all(|it| it.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or_else(|| bad("its length is no number"))
}

/// Does the connection stay open? Once a line asks for its end no other undoes that.
fn keeps(headers: &HeaderMap, is_new: bool) -> bool {
    let says = |word: &[u8]| {
        let lines = headers.get_all(CONNECTION).iter();
        let mut words = lines.flat_map(|it| it.as_bytes().split(|it| *it == b','));
        words.any(|it| it.trim_ascii().eq_ignore_ascii_case(word))
    };
    !says(b"close") && (is_new || says(b"keep-alive"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP answer: {what}"))
}

/// A request's head as it goes out, `Host` and `Content-Length` added.
pub(super) fn written(request: &Request<Bytes>) -> Bytes {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut out = Vec::with_capacity(512);
    for part in [request.method().as_str(), " ", path, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if !request.headers().contains_key(HOST) {
        write_host(&mut out, uri);
    }
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    let length = request.body().len();
    if length > 0 || !matches!(*request.method(), Method::GET | Method::HEAD) {
        let length = HeaderValue::from(length);
        for part in [CONTENT_LENGTH.as_str().as_bytes(), b": ", length.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

/// Without the port where that is the scheme's own, and without a user.
fn write_host(out: &mut Vec<u8>, uri: &Uri) {
    let own = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    out.extend_from_slice(b"host: ");
    out.extend_from_slice(uri.host().unwrap_or_default().as_bytes());
    if let Some(port) = uri.port().filter(|it| it.as_u16() != own) {
        out.push(b':');
        out.extend_from_slice(port.as_str().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
