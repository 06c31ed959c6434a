// A worker in Java 17 over the plain WebSocket, with nothing but the JDK: `java RemoteWorker.java`. The other side is `trunkline gateway`.
// It comes back by itself, with `resume`, and keeps the jobs that it had started. With Jackson or Gson at hand, drop the class Json.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

public class RemoteWorker implements WebSocket.Listener {
    static final int CONCURRENCY = 4;
    final HttpClient http = HttpClient.newHttpClient();
    final ExecutorService handlers = Executors.newFixedThreadPool(CONCURRENCY);
    final Map<Long, String> unanswered = new LinkedHashMap<>(); // reports are sent again after a reconnect, until they are answered
    final StringBuilder text = new StringBuilder();
    WebSocket socket;
    CompletableFuture<?> sending = CompletableFuture.completedFuture(null);
    CountDownLatch over;
    String resume;
    boolean isReady, isRefused;
    long ids;
    volatile long heardAt; // nanoseconds: the last sign of life of the other side

    /** What is done with a job of the name `resize`. */
    static Map<String, Object> resize(Map<String, Object> payload, java.util.function.BiConsumer<Integer, String> progress) {
        progress.accept(50, "halfway");
        System.out.println(payload.get("path") + " resized");
        return Map.of("path", payload.get("path"), "ok", true);
    }

    void work(Map<String, Object> request) {
        Map<String, Object> job = new LinkedHashMap<>();
        job.put("jobName", request.get("name"));
        job.put("jobId", request.get("id"));
        job.put("attempt", request.get("attempt"));
        report("job_started", job, Map.of());
        try {
            @SuppressWarnings("unchecked")
            Map<String, Object> payload = (Map<String, Object>) request.get("data");
            Object result = resize(payload, (percent, message) -> report("job_progress", job, Map.of("progress", percent, "message", message)));
            report("job_completed", job, Map.of("result", result));
        } catch (Exception error) {
            report("job_failed", job, Map.of("error", Map.of("type", error.getClass().getSimpleName(), "message", "" + error.getMessage())));
        }
    }

    void report(String call, Map<String, Object> job, Map<String, Object> more) {
        Map<String, Object> data = new LinkedHashMap<>(job);
        data.putAll(more);
        ask(call, data);
    }

    synchronized void ask(String call, Map<String, Object> data) {
        long id = ++ids;
        unanswered.put(id, Json.write(Map.of("id", id, "type", call, "data", data)));
        if (isReady) send(unanswered.get(id));
    }

    /** One frame after the other: a WebSocket takes no second one before the first has left. */
    synchronized void send(String frame) {
        WebSocket to = socket;
        sending = sending.handle((done, error) -> null).thenCompose(done -> to.sendText(frame, true)).handle((done, error) -> null);
    }

    @Override
    public CompletionStage<?> onText(WebSocket from, CharSequence part, boolean last) {
        heardAt = System.nanoTime();
        text.append(part);
        if (last) {
            Object frame = new Json(text.toString()).read();
            text.setLength(0);
            for (Object message : frame instanceof List<?> many ? many : List.of(frame)) heard((Map<?, ?>) message);
        }
        from.request(1);
        return null;
    }

    @SuppressWarnings("unchecked")
    synchronized void heard(Map<?, ?> message) {
        Map<String, Object> data = message.get("data") instanceof Map<?, ?> map ? (Map<String, Object>) map : Map.of();
        switch ((String) message.get("type")) {
            case "client_ready" -> {
                resume = (String) data.get("id");
                isReady = true;
                List<String> again = new ArrayList<>(unanswered.values());
                ask("register_worker", Map.of("jobName", "resize", "options", Map.of("teamSize", 1, "teamConcurrency", CONCURRENCY)));
                again.forEach(this::send);
            }
            case "work_request" -> handlers.submit(() -> work(data));
            case "cancel_request" -> System.out.println("job " + data.get("id") + " is to stop");
            case "reply" -> {
                unanswered.remove(((Number) message.get("id")).longValue());
                boolean isFine = "ok".equals(data.get("status")) || "lease_lost".equals(data.get("code")); // lost: somebody else has the job
                if (!isFine) System.err.println(data.get("error"));
            }
            case "error" -> System.err.println(message.get("data"));
            default -> { }
        }
    }

    @Override
    public CompletionStage<?> onPong(WebSocket from, ByteBuffer message) {
        heardAt = System.nanoTime();
        from.request(1);
        return null;
    }

    @Override
    public CompletionStage<?> onClose(WebSocket from, int code, String reason) {
        isRefused = code == 4401; // the token is not good: coming again is of no use
        over.countDown();
        return null;
    }

    @Override
    public void onError(WebSocket from, Throwable error) {
        over.countDown();
    }

    void run(URI address, String token) throws InterruptedException {
        for (int failures = 0; !isRefused; failures++) {
            over = new CountDownLatch(1);
            try {
                text.setLength(0);
                Map<String, Object> hello = new LinkedHashMap<>(Map.of("customerToken", token, "events", false));
                if (resume != null) hello.put("resume", resume);
                WebSocket opened = http.newWebSocketBuilder().connectTimeout(Duration.ofSeconds(10)).buildAsync(address, this).join();
                heardAt = System.nanoTime();
                synchronized (this) {
                    socket = opened;
                    sending = CompletableFuture.completedFuture(null); // what was on its way through the old one may never say how it ended
                    send(Json.write(Map.of("type", "authenticate", "data", hello)));
                }
                while (!over.await(5, TimeUnit.SECONDS)) { // a connection may be lost and nobody told
                    if (System.nanoTime() - heardAt > 12_000_000_000L) {
                        opened.abort();
                        break;
                    }
                    opened.sendPing(ByteBuffer.allocate(0));
                }
                if (isReady) failures = 0;
            } catch (java.util.concurrent.CompletionException error) {
                System.err.println("not reached: " + error.getCause());
            }
            synchronized (this) {
                isReady = false;
            }
            Thread.sleep(ThreadLocalRandom.current().nextLong(Math.min(15_000L, 250L << Math.min(failures, 6)))); // full jitter
        }
        handlers.shutdownNow();
    }

    public static void main(String[] arguments) throws InterruptedException {
        new RemoteWorker().run(URI.create(System.getenv("TRUNKLINE_GATEWAY") + "/ws/raw"), System.getenv("TRUNKLINE_TOKEN"));
    }

    /** As much JSON as a worker needs. */
    static class Json {
        final String text;
        int at;

        Json(String text) {
            this.text = text;
        }

        Object read() {
            char first = next();
            if (first == '"') return string();
            if (first == '{') {
                Map<String, Object> map = new LinkedHashMap<>();
                while (next() != '}') {
                    if (text.charAt(at - 1) == ',') next();
                    String key = string();
                    next(); // the colon
                    map.put(key, read());
                }
                return map;
            }
            if (first == '[') {
                List<Object> list = new ArrayList<>();
                while (next() != ']') {
                    if (text.charAt(at - 1) != ',') at--;
                    list.add(read());
                }
                return list;
            }
            int begin = at - 1;
            while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) at++;
            String word = text.substring(begin, at);
            return switch (word) {
                case "true" -> true;
                case "false" -> false;
                case "null" -> null;
                default -> word.matches("-?\\d{1,18}") ? (Object) Long.valueOf(word) : Double.valueOf(word);
            };
        }

        char next() {
            while (Character.isWhitespace(text.charAt(at))) at++;
            return text.charAt(at++);
        }

        String string() {
            StringBuilder made = new StringBuilder();
            for (char c = text.charAt(at++); c != '"'; c = text.charAt(at++)) {
                if (c != '\\') {
                    made.append(c);
                } else if ((c = text.charAt(at++)) == 'u') {
                    made.append((char) Integer.parseInt(text.substring(at, at += 4), 16));
                } else {
                    int known = "bfnrt".indexOf(c);
                    made.append(known < 0 ? c : "\b\f\n\r\t".charAt(known));
                }
            }
            return made.toString();
        }

        static String write(Object value) {
            if (value instanceof Map<?, ?> map) {
                List<String> pairs = new ArrayList<>();
                map.forEach((key, item) -> pairs.add(write(key) + ":" + write(item)));
                return "{" + String.join(",", pairs) + "}";
            }
            if (value instanceof List<?> list) return "[" + String.join(",", list.stream().map(Json::write).toList()) + "]";
            if (!(value instanceof String said)) return String.valueOf(value);
            StringBuilder made = new StringBuilder("\"");
            for (char c : said.toCharArray()) {
                if (c == '"' || c == '\\') made.append('\\').append(c);
                else if (c < ' ') made.append(String.format("\\u%04x", (int) c));
                else made.append(c);
            }
            return made.append('"').toString();
        }
    }
}
