//! A caller: whole answers, streams, and streams read step by step.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;

use super::{Gateway, SOON};

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The text of the first choice.
    pub(crate) fn said(&self) -> String {
        let json = self.json();
        let said = json["choices"][0]["message"]["content"].as_str();
        said.unwrap_or_else(|| panic!("no content: {}", self.text())).to_owned()
    }

    /// A header's value; empty when it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The error's members.
    pub(crate) fn error(&self) -> Value {
        self.json()["error"].clone()
    }

    /// This very answer if its status is `status`.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}", self.body);
        self
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |it| it.to_str().expect("a readable header"))
}

/// A stream that has ended.
#[derive(Debug)]
pub(crate) struct StreamAnswer {
    pub(crate) headers: HeaderMap,
    /// The data of every event but `[DONE]`, as it came.
    pub(crate) data: Vec<String>,
    /// The same as JSON.
    pub(crate) events: Vec<Value>,
    /// Did `[DONE]` come, and last?
    pub(crate) done: bool,
    /// Lines that begin with a colon.
    pub(crate) comments: Vec<String>,
}

impl StreamAnswer {
    /// Reads the whole body of a stream.
    pub(crate) fn read(headers: HeaderMap, body: &str) -> Self {
        let mut read = Self {
            headers,
            data: Vec::new(),
            events: Vec::new(),
            done: false,
            comments: Vec::new(),
        };
        for event in body.split("\n\n").filter(|it| !it.is_empty()) {
            assert!(!read.done, "something came after [DONE]: {body}");
            read.take(event);
        }
        assert!(body.is_empty() || body.ends_with("\n\n"), "a torn event: {body}");
        read
    }

    fn take(&mut self, event: &str) {
        if event.starts_with(':') {
            self.comments.push(event.to_owned());
            return;
        }
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {event}"));
        assert!(!data.contains('\n'), "an event of several lines: {event}");
        if data == "[DONE]" {
            self.done = true;
            return;
        }
        self.data.push(data.to_owned());
        self.events.push(serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data}")));
    }

    /// The text of choice `index`.
    pub(crate) fn said_by(&self, index: u64) -> String {
        let choices = self.events.iter().filter_map(|it| it["choices"].as_array());
        let mine = choices.flatten().filter(|it| it["index"] == index);
        mine.filter_map(|it| it["delta"]["content"].as_str()).collect()
    }

    /// The text of the first choice.
    pub(crate) fn said(&self) -> String {
        self.said_by(0)
    }

    /// Every reason why choice `index` ended; a proper stream has one.
    pub(crate) fn finishes(&self, index: u64) -> Vec<&str> {
        let choices = self.events.iter().filter_map(|it| it["choices"].as_array());
        let mine = choices.flatten().filter(|it| it["index"] == index);
        mine.filter_map(|it| it["finish_reason"].as_str()).collect()
    }

    /// The members of the error it ended with; null when there is none.
    pub(crate) fn error(&self) -> Value {
        self.events.last().map_or(Value::Null, |it| it["error"].clone())
    }

    /// A header's value; empty when it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// This very stream if it ended well.
    pub(crate) fn expect_done(self) -> Self {
        assert!(self.done && self.error().is_null(), "{:?}", self.data);
        self
    }
}

/// A stream under way. Dropping it hangs up.
pub(crate) struct LiveStream {
    headers: HeaderMap,
    body: Incoming,
    read: String,
}

impl LiveStream {
    /// Reads on until the text that came satisfies `enough`.
    pub(crate) async fn read_until(&mut self, enough: impl Fn(&str) -> bool) {
        while !enough(&self.read) {
            let frame = tokio::time::timeout(SOON, self.body.frame()).await.expect("in time");
            let frame = frame.unwrap_or_else(|| panic!("the end came first: {}", self.read));
            let data = frame.expect("a whole stream").into_data().expect("data");
            self.read.push_str(std::str::from_utf8(&data).expect("UTF-8"));
        }
    }

    /// Reads on until some content has come.
    pub(crate) async fn read_some(&mut self) {
        self.read_until(|it| it.matches("\"content\":\"").count() > 2).await;
    }

    /// Reads to the end.
    pub(crate) async fn finish(mut self) -> StreamAnswer {
        let rest = tokio::time::timeout(SOON, self.body.collect()).await.expect("in time");
        let rest = rest.expect("a whole stream").to_bytes();
        self.read.push_str(std::str::from_utf8(&rest).expect("UTF-8"));
        StreamAnswer::read(self.headers, &self.read)
    }
}

impl Gateway {
    /// A request for `path`.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let uri = format!("http://{}{path}", self.addr());
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).expect("a request")
    }

    /// Sends a request and waits for the head of its answer.
    async fn head(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let answer = tokio::time::timeout(SOON, self.client().request(request)).await;
        answer.expect("in time").expect("an answer")
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.head(request).await.into_parts();
        let body = tokio::time::timeout(SOON, body.collect()).await.expect("in time");
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.expect("a whole answer").to_bytes(),
        }
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, &[], "")).await
    }

    /// Posts these very bytes as a chat request.
    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        self.send(self.request(Method::POST, CHAT, &[], body)).await
    }

    /// A chat request with a whole answer.
    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.chat_with(body, &[]).await
    }

    /// The same with headers.
    pub(crate) async fn chat_with(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.send(self.request(Method::POST, CHAT, headers, body.to_string())).await
    }

    /// Opens a stream.
    pub(crate) async fn open(&self, body: &Value, headers: &[(&str, &str)]) -> LiveStream {
        let body = super::streamed(body.clone()).to_string();
        let request = self.request(Method::POST, CHAT, headers, body);
        let (head, body) = self.head(request).await.into_parts();
        if head.status != 200 {
            let body = body.collect().await.expect("a whole answer").to_bytes();
            panic!("{}: {body:?}", head.status);
        }
        LiveStream { headers: head.headers, body, read: String::new() }
    }

    /// A chat request answered as a stream, read to its end.
    pub(crate) async fn stream(&self, body: &Value) -> StreamAnswer {
        self.open(body, &[]).await.finish().await
    }

    /// `GET /v1/usage`.
    pub(crate) async fn usage(&self) -> Value {
        self.get("/v1/usage").await.expect(200).json()
    }

    /// The total usage once `requests` answers are in it. What was cut or abandoned is counted
    /// after the fact.
    pub(crate) async fn counted(&self, requests: u64) -> Value {
        let counting = async {
            loop {
                let total = self.usage().await["total"].clone();
                if total["requests"].as_u64() >= Some(requests) {
                    return total;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, counting).await.expect("it is counted")
    }

    /// What `GET /v1/models/{id}` says.
    pub(crate) async fn model(&self, id: &str) -> Value {
        self.get(&format!("/v1/models/{id}")).await.expect(200).json()
    }
}

const CHAT: &str = "/v1/chat/completions";
