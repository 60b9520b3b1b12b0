//! What is measured, as plain data at one moment, whoever measured it.
//! Never here: names and formats of the exporter.

/// Something that can be asked for its numbers: the metadata server, a data server.
pub trait Source: Send + Sync {
    /// What tells its numbers from those of the others in the process: `role`, `server`.
    fn labels(&self) -> Vec<(&'static str, String)>;

    /// Its numbers now. Called at each scrape; must not wait for anything slow.
    fn samples(&self) -> Samples;
}

/// The numbers of one source.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pub operations: Vec<OperationSample>,
    pub legacy: Vec<LegacySample>,
    pub bytes: Vec<BytesSample>,
    pub client_bytes: Vec<ClientBytes>,
    pub data_servers: Vec<DataServerSample>,
    pub reports: Vec<ReportSample>,
    pub junctions: Vec<JunctionSample>,
    pub scans: Vec<ScanSample>,
    pub keepers: Vec<KeeperSample>,
    pub counters: Vec<Counter>,
    pub gauges: Vec<Gauge>,
    pub histograms: Vec<Histogram>,
}

/// One operation (NFSv4) or procedure (NFSv3).
#[derive(Debug, Clone)]
pub struct OperationSample {
    /// As the RFC calls it: `OPEN`, `LAYOUTGET`, `WRITE`.
    pub name: String,
    pub count: u64,
    /// How often each status other than OK was answered, by its name without the prefix.
    pub errors: Vec<(String, u64)>,
    pub latency: Latency,
}

/// A procedure of NFSv3, or of its MOUNT, by which older clients called the metadata server.
#[derive(Debug, Clone)]
pub struct LegacySample {
    /// `NFS` or `MOUNT`.
    pub program: &'static str,
    pub procedure: &'static str,
    pub count: u64,
}

/// A histogram of times.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// Upper bound of each bucket in microseconds, ascending.
    pub bounds_micros: Vec<u64>,
    /// How many fell into each, not added up; one more than there are bounds, for the rest.
    pub counts: Vec<u64>,
    pub total_micros: u64,
}

/// A histogram of counts.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Without prefix: `catalog_batch_transactions`.
    pub name: &'static str,
    pub help: &'static str,
    /// Upper bound of each bucket, ascending.
    pub bounds: Vec<u64>,
    /// How many fell into each, not added up; one more than there are bounds, for the rest.
    pub counts: Vec<u64>,
    pub total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Written,
}

/// How file data went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Between client and data server.
    Direct,
    /// Through the metadata server.
    Proxy,
}

/// File data that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BytesSample {
    pub route: Route,
    pub direction: Direction,
    pub bytes: u64,
}

/// File data that a data server gave to or took from one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientBytes {
    /// Its IP address, or `others` for those beyond the limit.
    pub client: String,
    pub read: u64,
    pub written: u64,
}

/// What the metadata server thinks of a data server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataServerHealth {
    Up,
    /// No space for new files.
    Full,
    /// It failed lately, and is being probed.
    Suspect,
    Down,
    /// It is there, and must be otherwise before it is used.
    Unfit,
}

/// A data server as the metadata server sees it.
#[derive(Debug, Clone)]
pub struct DataServerSample {
    pub name: String,
    pub health: DataServerHealth,
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// What clients told of what they did past the metadata server.
#[derive(Debug, Clone)]
pub struct ReportSample {
    pub of: ReportOf,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
    /// By the status that they met.
    pub errors: Vec<(String, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportOf {
    DataServer(String),
    /// Its number, as `stat` shows it.
    File(u64),
}

/// A backend's tree, where it is shown.
#[derive(Debug, Clone)]
pub struct JunctionSample {
    pub path: String,
    pub backend: String,
    /// Whether the backend has been reached.
    pub there: bool,
    /// Layouts by which clients read its files directly.
    pub layouts: u64,
    /// Layouts that were refused, by the reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Through the metadata server.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Calls of the backend that were to come again, and that failed for good.
    pub delayed: u64,
    pub broken: u64,
    /// All of them, by the time that they took.
    pub calls: Latency,
    /// Written, and waiting on this host for a COMMIT.
    pub unsent_bytes: u64,
}

/// How far a filer's tree was taken in.
#[derive(Debug, Clone)]
pub struct ScanSample {
    pub backend: String,
    pub state: &'static str,
    pub directories_left: u64,
    pub directories_done: u64,
    pub files: u64,
    pub bytes: u64,
}

/// How a backend does that holds files of the namespace.
#[derive(Debug, Clone)]
pub struct KeeperSample {
    pub backend: String,
    pub state: &'static str,
    /// Data that waits on this host for a COMMIT.
    pub unsent_bytes: u64,
}

/// A number that only grows.
#[derive(Debug, Clone)]
pub struct Counter {
    /// Without prefix and `_total`: `fences`.
    pub name: &'static str,
    pub help: &'static str,
    pub value: u64,
}

/// A number that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// Without prefix: `sessions`.
    pub name: &'static str,
    pub help: &'static str,
    pub value: f64,
}

impl Counter {
    pub fn new(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, value }
    }
}

impl Gauge {
    pub fn new(name: &'static str, help: &'static str, value: impl IntoGauge) -> Self {
        Self {
            name,
            help,
            value: value.into_gauge(),
        }
    }
}

/// Counts of things, which a gauge shows without caring about the last of 53 bits.
pub trait IntoGauge {
    fn into_gauge(self) -> f64;
}

impl IntoGauge for u64 {
    fn into_gauge(self) -> f64 {
        self as f64
    }
}

impl IntoGauge for usize {
    fn into_gauge(self) -> f64 {
        self as f64
    }
}

impl IntoGauge for bool {
    fn into_gauge(self) -> f64 {
        f64::from(u8::from(self))
    }
}
