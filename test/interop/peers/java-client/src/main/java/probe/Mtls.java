package probe;

import io.spiffe.internal.CertificateUtils;
import io.spiffe.provider.SpiffeSslContextFactory;
import io.spiffe.provider.SpiffeSslContextFactory.SslContextOptions;
import io.spiffe.spiffeid.SpiffeId;
import io.spiffe.workloadapi.DefaultX509Source;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.cert.X509Certificate;
import java.util.Map;
import java.util.Set;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

/** mTLS by SPIFFE ID, with the library's TLS provider. */
final class Mtls {

    private Mtls() {
    }

    /** Prints where it listens, then a line for each caller: who it was, or why it was turned away. */
    static void serve(String address, String peer) throws Exception {
        DefaultX509Source source = Show.newX509Source();
        String own = source.getX509Svid().getSpiffeId().toString();
        try (SSLServerSocket listener = (SSLServerSocket) contextFor(source, peer).getServerSocketFactory()
                .createServerSocket(portOf(address), 0, InetAddress.getByName(hostOf(address)))) {
            listener.setNeedClientAuth(true);
            Main.say(Main.line("listening", "address", hostOf(address) + ":" + listener.getLocalPort(), "own", own));
            for (;;) {
                try (SSLSocket connection = (SSLSocket) listener.accept()) {
                    connection.setSoTimeout(Main.PATIENCE * 1000);
                    String said = readLine(connection);
                    Map<String, Object> line = met(own, connection, said);
                    write(connection, own + " greets " + line.get("peer"));
                    Main.say(line);
                } catch (IOException fault) {
                    Main.say(Main.line("refused", "message", Main.textOf(fault)));
                }
            }
        }
    }

    static Void call(String address, String peer) throws Exception {
        try (DefaultX509Source source = Show.newX509Source()) {
            String own = source.getX509Svid().getSpiffeId().toString();
            try (SSLSocket connection = (SSLSocket) contextFor(source, peer).getSocketFactory()
                    .createSocket(hostOf(address), portOf(address))) {
                write(connection, own + " calls");
                String said = readLine(connection);
                Main.say(met(own, connection, said));
            }
        }
        return null;
    }

    private static SSLContext contextFor(DefaultX509Source source, String peer) throws Exception {
        Set<SpiffeId> accepted = Set.of(SpiffeId.parse(peer));
        return SpiffeSslContextFactory.getSslContext(SslContextOptions.builder()
                .sslProtocol("TLSv1.3")
                .x509Source(source)
                .acceptedSpiffeIdsSupplier(() -> accepted)
                .build());
    }

    private static Map<String, Object> met(String own, SSLSocket connection, String said) throws IOException {
        X509Certificate leaf = (X509Certificate) connection.getSession().getPeerCertificates()[0];
        try {
            return Main.line("peer",
                    "own", own,
                    "peer", CertificateUtils.getSpiffeId(leaf).toString(),
                    "peerSerial", leaf.getSerialNumber().toString(),
                    "said", said);
        } catch (java.security.cert.CertificateException fault) {
            throw new IOException(fault);
        }
    }

    private static String readLine(SSLSocket connection) throws IOException {
        return new BufferedReader(new InputStreamReader(connection.getInputStream(), StandardCharsets.UTF_8)).readLine();
    }

    private static void write(SSLSocket connection, String text) throws IOException {
        connection.getOutputStream().write((text + "\n").getBytes(StandardCharsets.UTF_8));
        connection.getOutputStream().flush();
    }

    private static String hostOf(String address) {
        return address.substring(0, address.lastIndexOf(':'));
    }

    private static int portOf(String address) {
        return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
    }
}
