/* The load of the benchmarks: WebSocket clients in one thread, on epoll; load.py builds this program and drives it.
 *
 *     load echo      PORT [options]   each message comes back to its sender
 *     load broadcast PORT [options]   the first connection sends, and each connection gets the message
 *     load burst     PORT [options]   for each message, REPLIES messages come back to its sender
 *     load handshake PORT [options]   connections are opened, and reset as soon as they are open
 *     load paced     PORT [options]   an echo at a fixed RATE, whatever the server can do
 *
 *     -n MESSAGES   how many are sent in all; of handshakes, how many connections are opened
 *     -c COUNT      connections; of handshakes, how many are being opened at a time
 *     -w WINDOW     of an echo: how many messages of one connection are under way at a time
 *     -s SIZE       bytes of a message
 *     -k REPLIES    of a burst
 *     -r RATE       of the paced echo: messages a second, over all connections
 *     -t            text; else messages are binary
 *     -x            no WebSocket: the server sends back the bytes, or for a burst the bytes of a server's frames
 *     -b            the request has the header fields of a browser
 *     -S            TLS, where this was built with -DWITH_TLS; the certificate is not verified
 *
 * All modes but the last are closed loops: a message is sent when the answer to an earlier one has come. The program
 * opens its connections, prints "ready", waits for a line, does its work, and prints one line of JSON. It keeps the
 * connections until its input ends. The first message of each connection is compared byte for byte, and of all others
 * the length. "delay" is by how much the paced echo itself sent too late, in its 99th percentile. A failure is
 * one line on standard error, and exit code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

enum mode { ECHO_, BROADCAST, BURST, HANDSHAKE, PACED };
enum { EVENTS = 256, OPENING_AT_A_TIME = 64, STALLED_MILLISECONDS = 30000, HEAD_SIZE = 2048, RECEIVE_SIZE = 1 << 18 };

struct connection {
    int fd, number, is_open, waits_to_write;
#ifdef WITH_TLS
    SSL *ssl;
#endif
    uint64_t unsent; /* bytes that are to be sent */
    size_t position; /* of the next of them, in a frame */
    uint64_t began;  /* when the latest message was sent, or the connection was begun */
    long sent, received, answered;
    size_t head_length;
    char head[HEAD_SIZE];
    /* The frame that is coming in. */
    unsigned char header[10];
    size_t header_length, header_need;
    uint64_t frame_rest, message_length;
};

static enum mode mode;
static int port, with_tls, is_raw, is_text, is_browser, epoll;
static long messages = 1, count = 1, window = 1, replies = 1;
static size_t size = 64;
static double rate = 1000;

static char *payload, *frames; /* one payload as the server has it; the frame with it, several times over */
static size_t frame_length, frames_length, reply_length;
static struct connection **connections;
static long begun, opened, sent, delivered;
static uint64_t start;
static float *latencies, *delays; /* microseconds; the delays are of messages that the load itself sent too late */
static long latency_count, delay_count, latency_limit;
#ifdef WITH_TLS
static SSL_CTX *context;
#endif

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void *allocate(size_t length)
{
    void *memory = calloc(1, length ? length : 1);
    if (!memory)
        fail("no memory");
    return memory;
}

static void note_latency(uint64_t since)
{
    if (latency_count < latency_limit)
        latencies[latency_count++] = (float)(now() - since) / 1000;
}

/* Bytes on their way */

static ssize_t transmit(struct connection *it, const char *data, size_t length)
{
#ifdef WITH_TLS
    if (it->ssl) {
        int result = SSL_write(it->ssl, data, length > 1 << 17 ? 1 << 17 : (int)length);
        if (result > 0)
            return result;
        int error = SSL_get_error(it->ssl, result);
        errno = error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
        return -1;
    }
#endif
    return send(it->fd, data, length, MSG_NOSIGNAL);
}

static ssize_t receive(struct connection *it, char *data, size_t length)
{
#ifdef WITH_TLS
    if (it->ssl) {
        int result = SSL_read(it->ssl, data, (int)length);
        if (result > 0)
            return result;
        int error = SSL_get_error(it->ssl, result);
        if (error == SSL_ERROR_ZERO_RETURN)
            return 0;
        errno = error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
        return -1;
    }
#endif
    return recv(it->fd, data, length, 0);
}

static int has_pending(struct connection *it)
{
#ifdef WITH_TLS
    return it->ssl && SSL_pending(it->ssl) > 0;
#else
    (void)it;
    return 0;
#endif
}

static void watch(struct connection *it, int operation, int waits_to_write)
{
    struct epoll_event event = {.events = EPOLLIN | (waits_to_write ? EPOLLOUT : 0), .data.ptr = it};
    it->waits_to_write = waits_to_write;
    if (epoll_ctl(epoll, operation, it->fd, &event))
        fail("epoll: %s", strerror(errno));
}

static void flush(struct connection *it)
{
    while (it->unsent) {
        size_t length = frames_length - it->position;
        ssize_t done = transmit(it, frames + it->position, it->unsent < length ? it->unsent : length);
        if (done < 0 && errno == EAGAIN)
            break;
        if (done < 0)
            fail("send: %s", strerror(errno));
        it->unsent -= (uint64_t)done;
        it->position = (it->position + (size_t)done) % frame_length;
    }
    if (it->waits_to_write != (it->unsent > 0))
        watch(it, EPOLL_CTL_MOD, it->unsent > 0);
}

static void send_messages(struct connection *it, long number)
{
    if (number > messages - sent)
        number = messages - sent;
    if (number <= 0)
        return;
    it->unsent += frame_length * (uint64_t)number;
    it->sent += number;
    sent += number;
    it->began = now();
    flush(it);
}

/* The frame that all send */

static size_t write_header(unsigned char *to, int mask)
{
    to[0] = 0x80 | (is_text ? 1 : 2);
    if (size < 126) {
        to[1] = (unsigned char)(mask | (int)size);
        return 2;
    }
    int bytes = size < 65536 ? 2 : 8;
    to[1] = (unsigned char)(mask | (bytes == 2 ? 126 : 127));
    for (int i = 0; i < bytes; i++)
        to[2 + i] = (unsigned char)((uint64_t)size >> (8 * (bytes - 1 - i)));
    return 2 + (size_t)bytes;
}

static void build_frames(void)
{
    static const unsigned char key[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char header[16];
    uint32_t state = 1;
    payload = allocate(size);
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        payload[i] = (char)(is_text ? 'a' + (state >> 24) % 26 : state >> 24);
    }
    reply_length = write_header(header, 0) + size; /* of a burst without WebSocket */
    size_t header_length = write_header(header, 0x80);
    memcpy(header + header_length, key, 4);
    header_length += 4;
    frame_length = header_length + size;
    size_t copies = 65536 / frame_length + 1;
    frames_length = copies * frame_length;
    frames = allocate(frames_length);
    for (char *at = frames; at < frames + frames_length; at += frame_length) {
        memcpy(at, header, header_length);
        for (size_t i = 0; i < size; i++)
            at[header_length + i] = (char)(payload[i] ^ key[i & 3]);
    }
}

/* Bytes that come */

static void deliver(struct connection *it)
{
    it->received++;
    delivered++;
    if (mode == PACED)
        /* The time at which it should have been sent: a server that is late makes all later messages late. */
        note_latency(start + (uint64_t)(((double)(it->received - 1) * (double)count + it->number) * 1e9 / rate));
    else if (mode == ECHO_ && window == 1)
        note_latency(it->began);
}

static void take_raw(struct connection *it, size_t length)
{
    size_t each = mode == BURST ? reply_length : frame_length;
    it->message_length += length;
    for (; it->message_length >= each; it->message_length -= each)
        deliver(it);
}

static void take_header(struct connection *it, char byte)
{
    it->header[it->header_length++] = (unsigned char)byte;
    if (it->header_length == 2) {
        if (it->header[1] & 0x80)
            fail("the server masks");
        it->header_need = it->header[1] == 126 ? 4 : it->header[1] == 127 ? 10 : 2;
    }
    if (it->header_length < it->header_need)
        return;
    it->frame_rest = it->header[1];
    if (it->header_need > 2) {
        it->frame_rest = 0;
        for (size_t i = 2; i < it->header_need; i++)
            it->frame_rest = it->frame_rest << 8 | it->header[i];
    }
    if ((it->header[0] & 15) == 8)
        fail("the server closed the connection");
}

static void end_frame(struct connection *it)
{
    int opcode = it->header[0] & 15, is_final = it->header[0] & 0x80;
    it->header_length = 0;
    it->header_need = 2;
    if (opcode > 8 || !is_final)
        return;
    if (it->message_length != size)
        fail("a message of %llu bytes, not %zu", (unsigned long long)it->message_length, size);
    it->message_length = 0;
    deliver(it);
}

static void take(struct connection *it, const char *data, size_t length)
{
    if (is_raw) {
        take_raw(it, length);
        return;
    }
    while (length) {
        if (it->header_length < it->header_need) {
            take_header(it, *data++);
            length--;
        } else {
            size_t part = it->frame_rest < length ? (size_t)it->frame_rest : length;
            if ((it->header[0] & 15) < 8) {
                const char *expected = payload + it->message_length;
                it->message_length += part;
                if (!it->received && (it->message_length > size || memcmp(expected, data, part)))
                    fail("a message has come back changed");
            }
            it->frame_rest -= part;
            data += part;
            length -= part;
        }
        if (it->header_length == it->header_need && !it->frame_rest)
            end_frame(it);
    }
}

/* Connections */

static void send_request(struct connection *it)
{
    static const char browser[] =
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 "
        "Safari/537.36\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,fr;q=0.8\r\n"
        "Cache-Control: no-cache\r\nPragma: no-cache\r\n"
        "Cookie: session=0123456789abcdef0123456789abcdef0123456789abcdef; theme=dark\r\n";
    char request[HEAD_SIZE];
    int length = snprintf(request, sizeof request,
                          "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                          "Origin: http://127.0.0.1:%d\r\n%s\r\n",
                          port, port, is_browser ? browser : "User-Agent: load\r\n");
    if (transmit(it, request, (size_t)length) != length)
        fail("the request was not sent");
}

static void begin_connection(void)
{
    struct connection *it = allocate(sizeof *it);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = STALLED_MILLISECONDS / 1000};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    it->began = now();
    it->header_need = 2;
    it->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (it->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(it->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* A TLS handshake blocks, and is not to do so for ever. */
    setsockopt(it->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(it->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(it->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect: %s", strerror(errno));
#ifdef WITH_TLS
    if (with_tls) {
        it->ssl = SSL_new(context);
        if (!it->ssl || !SSL_set_fd(it->ssl, it->fd) || SSL_connect(it->ssl) != 1)
            fail("the TLS handshake failed");
    }
#endif
    it->number = (int)begun++;
    if (mode != HANDSHAKE)
        connections[it->number] = it;
    it->is_open = is_raw;
    opened += is_raw;
    if (!is_raw)
        send_request(it);
    fcntl(it->fd, F_SETFL, O_NONBLOCK);
    watch(it, EPOLL_CTL_ADD, 0);
}

static void take_head(struct connection *it)
{
    ssize_t length = receive(it, it->head + it->head_length, HEAD_SIZE - 1 - it->head_length);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0)
        fail("the server ended a connection before it was open");
    it->head_length += (size_t)length;
    char *end = strstr(it->head, "\r\n\r\n");
    if (!end)
        return;
    if (strncmp(it->head, "HTTP/1.1 101 ", 13))
        fail("the server answered %.*s", (int)strcspn(it->head, "\r\n"), it->head);
    it->is_open = 1;
    opened++;
    /* A Ping may be behind it. */
    take(it, end + 4, (size_t)(it->head + it->head_length - end - 4));
}

/* Resets a connection whose handshake is done; its port can be used again at once. */
static void drop(struct connection *it)
{
    struct linger reset = {1, 0};
    note_latency(it->began);
    setsockopt(it->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(it->fd);
#ifdef WITH_TLS
    SSL_free(it->ssl);
#endif
    free(it);
    delivered++;
}

/* Sends what the answers that have come allow. */
static void go_on(struct connection *it)
{
    if (mode == ECHO_) {
        send_messages(it, window - (it->sent - it->received));
    } else if (mode == BURST && it->received == it->sent * replies) {
        send_messages(it, 1);
    } else if (mode == BROADCAST && delivered == sent * count) {
        send_messages(connections[0], 1);
    }
}

static void take_input(struct connection *it)
{
    static char buffer[RECEIVE_SIZE];
    do {
        ssize_t length = receive(it, buffer, sizeof buffer);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0)
            fail("the server ended a connection");
        take(it, buffer, (size_t)length);
    } while (has_pending(it));
    go_on(it);
}

static void poll_once(void)
{
    struct epoll_event events[EVENTS];
    int found = epoll_wait(epoll, events, EVENTS, STALLED_MILLISECONDS);
    if (!found)
        fail("stalled: %ld of %ld are open, %ld sent, %ld come", opened, count, sent, delivered);
    if (found < 0 && errno != EINTR)
        fail("epoll: %s", strerror(errno));
    for (int i = 0; i < found; i++) {
        struct connection *it = events[i].data.ptr;
        if (!it)
            continue; /* the timer, which `run_paced` reads */
        if (events[i].events & EPOLLOUT)
            flush(it);
        if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            continue;
        if (it->is_open) {
            take_input(it);
        } else {
            take_head(it);
            if (it->is_open && mode == HANDSHAKE)
                drop(it);
        }
    }
}

/* The work */

static void open_all(void)
{
    while (opened < count) {
        while (begun < count && begun - opened < OPENING_AT_A_TIME)
            begin_connection();
        if (!is_raw)
            poll_once();
    }
}

static void run_handshakes(void)
{
    while (delivered < messages) {
        while (begun < messages && begun - delivered < count)
            begin_connection();
        poll_once();
    }
}

static void run_paced(void)
{
    uint64_t interval = (uint64_t)(1e9 / rate);
    struct itimerspec every = {.it_interval = {(time_t)(interval / 1000000000u), (long)(interval % 1000000000u)}};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    every.it_value = every.it_interval;
    if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event))
        fail("timer: %s", strerror(errno));
    while (delivered < messages) {
        uint64_t expired;
        if (read(timer, &expired, sizeof expired) < 0 && errno != EAGAIN)
            fail("timer: %s", strerror(errno));
        while (sent < messages) {
            uint64_t due = start + (uint64_t)((double)sent * 1e9 / rate), time = now();
            if (due > time)
                break;
            if (delay_count < latency_limit)
                delays[delay_count++] = (float)(time - due) / 1000;
            send_messages(connections[sent % count], 1);
        }
        poll_once();
    }
}

static void run_closed_loop(long expected)
{
    if (mode == BROADCAST)
        send_messages(connections[0], 1);
    else
        for (long i = 0; i < count; i++)
            send_messages(connections[i], window);
    while (delivered < expected)
        poll_once();
}

static int compare(const void *one, const void *other)
{
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

static void report(long done, double seconds)
{
    printf("{\"messages\": %ld, \"seconds\": %.6f", done, seconds);
    if (latency_count) {
        static const double percents[] = {50, 90, 99, 99.9};
        qsort(latencies, (size_t)latency_count, sizeof *latencies, compare);
        for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
            printf(", \"p%g\": %.1f", percents[i], latencies[(long)((double)(latency_count - 1) * percents[i] / 100)]);
    }
    if (delay_count) {
        qsort(delays, (size_t)delay_count, sizeof *delays, compare);
        printf(", \"delay\": %.1f", delays[(delay_count - 1) * 99 / 100]);
    }
    printf("}\n");
    fflush(stdout);
}

static void wait_for_line(void)
{
    int byte;
    while ((byte = getchar()) != '\n' && byte != EOF)
        ;
}

static void read_options(int argc, char **argv)
{
    static const char *const names[] = {"echo", "broadcast", "burst", "handshake", "paced"};
    if (argc < 3)
        fail("usage: load MODE PORT [options]");
    for (mode = ECHO_; mode <= PACED && strcmp(argv[1], names[mode]); mode++)
        ;
    if (mode > PACED)
        fail("no mode %s", argv[1]);
    port = atoi(argv[2]);
    for (int option; (option = getopt(argc - 2, argv + 2, "n:c:w:s:k:r:txbS")) != -1;) {
        switch (option) {
        case 'n': messages = atol(optarg); break;
        case 'c': count = atol(optarg); break;
        case 'w': window = atol(optarg); break;
        case 's': size = (size_t)atol(optarg); break;
        case 'k': replies = atol(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 't': is_text = 1; break;
        case 'x': is_raw = 1; break;
        case 'b': is_browser = 1; break;
        case 'S': with_tls = 1; break;
        default: exit(1);
        }
    }
    if (messages < 1 || count < 1 || window < 1 || size < 1 || replies < 1 || rate <= 0)
        fail("numbers must be positive");
}

int main(int argc, char **argv)
{
    struct rlimit files;
    read_options(argc, argv);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (with_tls) {
#ifdef WITH_TLS
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#else
        fail("built without TLS");
#endif
    }
    build_frames();
    latency_limit = messages < 2000000 ? messages : 2000000;
    latencies = allocate(sizeof *latencies * (size_t)latency_limit);
    delays = allocate(sizeof *delays * (size_t)latency_limit);
    connections = allocate(sizeof *connections * (size_t)count);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    long expected = messages * (mode == BROADCAST ? count : mode == BURST ? replies : 1);
    if (mode != HANDSHAKE)
        open_all();
    printf("ready\n");
    fflush(stdout);
    wait_for_line();
    start = now();
    if (mode == HANDSHAKE)
        run_handshakes();
    else if (mode == PACED)
        run_paced();
    else
        run_closed_loop(expected);
    report(expected, (double)(now() - start) / 1e9);
    wait_for_line();
    return 0;
}
