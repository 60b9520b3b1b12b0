//! Answers: XML, dates, objects.

use super::requests::{Asked, range};
use super::{Bucket, Stored};
use axum::body::Body;
use axum::response::Response;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn refusal(status: u16, code: &str) -> Response {
    let xml = format!("<Error><Code>{code}</Code><Message>as told</Message></Error>");
    Response::builder()
        .status(status)
        .header("content-type", "application/xml")
        .body(Body::from(xml))
        .expect("an answer")
}

pub fn empty(status: u16) -> Response {
    Response::builder()
        .status(status)
        .body(Body::empty())
        .expect("an answer")
}

pub fn xml(text: String) -> Response {
    Response::builder()
        .header("content-type", "application/xml")
        .body(Body::from(text))
        .expect("an answer")
}

/// Year, month, day, then seconds of the day, and the day of the week.
fn civil(time: SystemTime) -> (u64, u64, u64, u64, u64) {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let (mut days, second) = (seconds / 86400, seconds % 86400);
    let weekday = (days + 4) % 7;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1, second, weekday)
}

fn clock(second: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

pub fn iso(time: SystemTime) -> String {
    let (year, month, day, second, _) = civil(time);
    format!("{year}-{month:02}-{day:02}T{}.000Z", clock(second))
}

fn http_date(time: SystemTime) -> String {
    let (year, month, day, second, weekday) = civil(time);
    let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][weekday as usize];
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ][month as usize - 1];
    format!("{weekday}, {day:02} {month} {year} {} GMT", clock(second))
}

fn object(stored: &Stored, asked: &Asked) -> Response {
    let mut answer = Response::builder()
        .header("etag", &stored.etag)
        .header("last-modified", http_date(stored.modified));
    for (name, value) in &stored.meta {
        answer = answer.header(format!("x-amz-meta-{name}"), value);
    }
    if let Some(content_type) = &stored.content_type {
        answer = answer.header("content-type", content_type);
    }
    let size = stored.body.len() as u64;
    let mut body = stored.body.clone();
    if let Some((start, end)) = asked.header("range").and_then(range) {
        if start >= size {
            return refusal(416, "InvalidRange");
        }
        let end = end.min(size - 1);
        body = body.slice(start as usize..=end as usize);
        answer = answer
            .status(206)
            .header("content-range", format!("bytes {start}-{end}/{size}"));
    }
    answer = answer.header("content-length", body.len());
    let body = match asked.method.as_str() {
        "HEAD" => Body::empty(),
        _ => Body::from(body),
    };
    answer.body(body).expect("an answer")
}

impl Bucket {
    pub fn get(&self, asked: &Asked) -> Response {
        let Some(stored) = self.objects.get(&asked.key) else {
            return match asked.method.as_str() {
                "HEAD" => empty(404),
                _ => refusal(404, "NoSuchKey"),
            };
        };
        match asked.header("if-match") {
            Some(wanted) if wanted != stored.etag => refusal(412, "PreconditionFailed"),
            _ => object(stored, asked),
        }
    }
}
