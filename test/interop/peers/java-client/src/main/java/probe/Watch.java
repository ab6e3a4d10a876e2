package probe;

import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import io.spiffe.workloadapi.retry.ExponentialBackoffPolicy;
import java.security.cert.CertificateEncodingException;
import java.util.concurrent.CountDownLatch;

/** Prints a line for each update of the open streams and for the end of each. */
final class Watch {

    private Watch() {
    }

    static void watch() throws Exception {
        // Without the library's own retries, which would hide from the test that a stream broke.
        DefaultWorkloadApiClient.ClientOptions options = DefaultWorkloadApiClient.ClientOptions.builder()
                .exponentialBackoffPolicy(ExponentialBackoffPolicy.builder().maxRetries(-1).build())
                .build();
        WorkloadApiClient client = DefaultWorkloadApiClient.newClient(options);
        client.watchX509Context(new Watcher<>() {
            @Override
            public void onUpdate(X509Context update) {
                try {
                    Main.say(Show.describe(update));
                } catch (CertificateEncodingException fault) {
                    onError(fault);
                }
            }

            @Override
            public void onError(Throwable fault) {
                sayBroken("x509", fault);
            }
        });
        client.watchJwtBundles(new Watcher<>() {
            @Override
            public void onUpdate(JwtBundleSet update) {
                Main.say(Show.describe(update));
            }

            @Override
            public void onError(Throwable fault) {
                sayBroken("jwtBundles", fault);
            }
        });
        new CountDownLatch(1).await();
    }

    private static void sayBroken(String stream, Throwable fault) {
        Main.say(Main.line("broken", "stream", stream, "code", Main.codeOf(fault), "message", Main.textOf(fault)));
    }
}
