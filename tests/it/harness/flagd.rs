//! flagd's protocols as its clients speak them: gRPC over h2c, gRPC-Web and Connect over HTTP/1.1, with the generated
//! messages but without any of the server's code around them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde::Serialize;
use serde_json::{Value, json};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use prost::bytes::{Buf, BufMut};
use rampart::proto::flagd_wire::flagd::evaluation::v2;

use super::http::Client;
use super::{GUARD, Server};

/// A way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// gRPC over h2c.
    Grpc,
    /// gRPC-Web over HTTP/1.1.
    GrpcWeb,
    /// Connect with JSON over HTTP/1.1.
    ConnectJson,
    /// Connect with protobuf over HTTP/1.1.
    ConnectProto,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Grpc, Self::GrpcWeb, Self::ConnectJson, Self::ConnectProto];
}

/// An answer as protobuf's JSON, or a status as its name with a message.
pub type Outcome = Result<Value, (String, String)>;

/// A codec that leaves messages as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Clients of one server, by every transport.
#[derive(Debug)]
pub struct Flagd {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    http: Client,
    address: String,
}

impl Flagd {
    /// Connects.
    pub fn of(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.data)).expect("an address");
        let channel = runtime.block_on(endpoint.connect()).expect("it connects");
        Self { runtime, channel, http: server.data(), address: server.data.clone() }
    }

    /// Asks one flag, or all of them. `method` is such as `v2.ResolveBoolean`.
    pub fn ask(
        &mut self,
        transport: Transport,
        method: &str,
        key: &str,
        context: &Value,
        headers: &[(&str, &str)],
    ) -> Outcome {
        let (version, method) = method.split_once('.').expect("a version and a method");
        let path = format!("/flagd.evaluation.{version}.Service/{method}");
        let request = match method {
            "ResolveAll" => json!({"context": context}),
            _ => json!({"flagKey": key, "context": context}),
        };
        match transport {
            Transport::ConnectJson => {
                let sent = [&[("content-type", "application/json")], headers].concat();
                let answer = self.http.send("POST", &path, &sent, request.to_string().as_bytes());
                connect_outcome(answer.status, &answer.body, |body| serde_json::from_slice(body).expect("JSON"))
            }
            Transport::ConnectProto => {
                let sent = [&[("content-type", "application/proto"), ("connect-protocol-version", "1")], headers];
                let answer = self.http.send("POST", &path, &sent.concat(), &proto(method, &request));
                connect_outcome(answer.status, &answer.body, |body| read(method, body))
            }
            Transport::GrpcWeb => {
                let sent = [&[("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")], headers].concat();
                let answer = self.http.send("POST", &path, &sent, &envelope(0, &proto(method, &request)));
                assert_eq!(answer.status, 200, "{}", answer.text());
                web_outcome(&answer.body, method)
            }
            Transport::Grpc => {
                let bytes = proto(method, &request);
                match self.runtime.block_on(unary(self.channel.clone(), &path, bytes, headers)) {
                    Ok(bytes) => Ok(read(method, &bytes)),
                    Err(status) => Err((name(status.code()).to_owned(), status.message().to_owned())),
                }
            }
        }
    }

    /// Opens an event stream over gRPC.
    pub fn events(&self, version: &str, headers: &[(&str, &str)]) -> Result<GrpcEvents<'_>, Status> {
        let path = format!("/flagd.evaluation.{version}.Service/EventStream");
        let stream = self.runtime.block_on(async {
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            client.ready().await.expect("it is connected");
            let request = with_headers(Vec::new(), headers);
            client.server_streaming(request, path.parse().expect("a path"), Raw).await
        })?;
        Ok(GrpcEvents { runtime: &self.runtime, stream: stream.into_inner() })
    }

    /// Opens an event stream over Connect with JSON.
    pub fn connect_events(&self, version: &str, headers: &[(&str, &str)]) -> ConnectEvents {
        let sent = [&[("content-type", "application/connect+json"), ("connect-protocol-version", "1")], headers];
        ConnectEvents::open(&self.address, version, &sent.concat(), &envelope(0, b"{}"))
    }

    /// Whether the health service calls a service healthy.
    pub fn is_healthy(&self, service: &str) -> bool {
        self.runtime.block_on(async {
            let mut health = tonic_health::pb::health_client::HealthClient::new(self.channel.clone());
            let asked = tonic_health::pb::HealthCheckRequest { service: service.into() };
            let serving = tonic_health::pb::health_check_response::ServingStatus::Serving;
            health.check(asked).await.is_ok_and(|answer| answer.into_inner().status == serving as i32)
        })
    }
}

fn with_headers(bytes: Vec<u8>, headers: &[(&str, &str)]) -> Request<Vec<u8>> {
    let mut request = Request::new(bytes);
    for (name, value) in headers {
        let name: tonic::metadata::MetadataKey<_> = name.parse().expect("a name");
        request.metadata_mut().insert(name, value.parse().expect("a value"));
    }
    request
}

async fn unary(channel: Channel, path: &str, bytes: Vec<u8>, headers: &[(&str, &str)]) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("it is connected");
    let path = path.parse().expect("a path");
    client.unary(with_headers(bytes, headers), path, Raw).await.map(tonic::Response::into_inner)
}

/// One message in its envelope.
pub fn envelope(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[flags], &length.to_be_bytes()[..], message].concat()
}

/// A request as protobuf.
fn proto(method: &str, request: &Value) -> Vec<u8> {
    use buffa::Message as _;
    let text = request.to_string();
    match method {
        "ResolveAll" => {
            let message: rampart::proto::flagd_wire::flagd::evaluation::v1::ResolveAllRequest =
                serde_json::from_str(&text).expect("a request");
            message.encode_to_vec()
        }
        _ => {
            let message: v2::ResolveBooleanRequest = serde_json::from_str(&text).expect("a request");
            message.encode_to_vec()
        }
    }
}

/// An answer of protobuf as JSON; v1's are read as v2's, which show whether a value is there.
pub fn read(method: &str, bytes: &[u8]) -> Value {
    fn as_json<M: buffa::Message + Serialize>(bytes: &[u8]) -> Value {
        serde_json::to_value(M::decode_from_slice(bytes).expect("the message")).expect("JSON")
    }
    match method {
        "ResolveBoolean" => as_json::<v2::ResolveBooleanResponse>(bytes),
        "ResolveString" => as_json::<v2::ResolveStringResponse>(bytes),
        "ResolveFloat" => as_json::<v2::ResolveFloatResponse>(bytes),
        "ResolveInt" => as_json::<v2::ResolveIntResponse>(bytes),
        "ResolveObject" => as_json::<v2::ResolveObjectResponse>(bytes),
        "EventStream" => as_json::<v2::EventStreamResponse>(bytes),
        _ => as_json::<rampart::proto::flagd_wire::flagd::evaluation::v1::ResolveAllResponse>(bytes),
    }
}

fn connect_outcome(status: u16, body: &[u8], read: impl FnOnce(&[u8]) -> Value) -> Outcome {
    if status == 200 {
        return Ok(read(body));
    }
    let error: Value = serde_json::from_slice(body).expect("an error in JSON");
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    Err((text("code"), text("message")))
}

/// The message and the trailers of a gRPC-Web answer.
fn web_outcome(mut body: &[u8], method: &str) -> Outcome {
    let mut message = None;
    while let [flags, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (part, rest) = rest.split_at(length);
        body = rest;
        if flags & 0x80 == 0 {
            message = Some(part.to_vec());
            continue;
        }
        let trailers = String::from_utf8_lossy(part).into_owned();
        let find = |wanted: &str| trailers.lines().find_map(|line| line.strip_prefix(wanted)).map(str::trim);
        let code: i32 = find("grpc-status:").expect("a status").parse().expect("a number");
        if code != 0 {
            let message = find("grpc-message:").unwrap_or_default().replace("%20", " ");
            return Err((name(Code::from(code)).to_owned(), message));
        }
    }
    Ok(read(method, &message.expect("a message before the trailers")))
}

/// Connect's name of a status.
pub fn name(code: Code) -> &'static str {
    match code {
        Code::NotFound => "not_found",
        Code::InvalidArgument => "invalid_argument",
        Code::DataLoss => "data_loss",
        Code::Internal => "internal",
        Code::Unknown => "unknown",
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "permission_denied",
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::Unimplemented => "unimplemented",
        Code::ResourceExhausted => "resource_exhausted",
        _ => "another",
    }
}

/// An event stream over gRPC.
#[derive(Debug)]
pub struct GrpcEvents<'r> {
    runtime: &'r tokio::runtime::Runtime,
    stream: Streaming<Vec<u8>>,
}

impl GrpcEvents<'_> {
    /// The next event, or how the stream ended; an end with OK is none.
    pub fn next(&mut self) -> Result<Value, (String, String)> {
        let next = self.runtime.block_on(async { tokio::time::timeout(GUARD, self.stream.message()).await });
        match next.expect("something happens within the guard") {
            Ok(Some(bytes)) => Ok(read("EventStream", &bytes)),
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => Err((name(status.code()).to_owned(), status.message().to_owned())),
        }
    }
}

/// An event stream over Connect with JSON, read as it comes.
#[derive(Debug)]
pub struct ConnectEvents {
    stream: BufReader<TcpStream>,
    /// Bytes that came in chunks and were not read yet.
    pending: Vec<u8>,
}

impl ConnectEvents {
    /// Opens a stream with any head and body.
    pub fn open(address: &str, version: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).expect("it connects");
        stream.set_read_timeout(Some(GUARD)).expect("a timeout");
        let mut head = format!(
            "POST /flagd.evaluation.{version}.Service/EventStream HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).expect("it is sent");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("a status line");
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while !line.trim().is_empty() {
            line.clear();
            stream.read_line(&mut line).expect("a header");
        }
        Self { stream, pending: Vec::new() }
    }

    /// The next event, or how the stream ended.
    pub fn next(&mut self) -> Result<Value, (String, String)> {
        let head = self.take(5);
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let message: Value = serde_json::from_slice(&self.take(length)).expect("JSON");
        if head[0] & 0x02 == 0 {
            return Ok(message);
        }
        let text = |field: &str| message["error"][field].as_str().unwrap_or_default().to_owned();
        assert!(message["error"].is_object(), "the stream ended with OK");
        Err((text("code"), text("message")))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.pending.len() < count {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the length of a chunk");
            let size = usize::from_str_radix(line.trim(), 16).expect("a length");
            assert!(size > 0, "the body ended early");
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).expect("a chunk");
            self.pending.extend_from_slice(&chunk[..size]);
        }
        self.pending.drain(..count).collect()
    }
}
