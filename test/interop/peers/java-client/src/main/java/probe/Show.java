package probe;

import io.spiffe.bundle.jwtbundle.JwtBundle;
import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.bundle.x509bundle.X509Bundle;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.svid.x509svid.X509SvidValidator;
import io.spiffe.workloadapi.DefaultJwtSource;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.JwtSource;
import io.spiffe.workloadapi.JwtSourceOptions;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.security.cert.CertificateEncodingException;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;

/** The commands that answer once, and how answers are written down. */
final class Show {

    private Show() {
    }

    /** Asks once, so that a refusal is seen at once; then does what programs do and opens a source. */
    static Void x509() throws Exception {
        X509Context answer;
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            answer = client.fetchX509Context();
        }
        try (DefaultX509Source source = newX509Source()) {
            X509Svid picked = source.getX509Svid();
            X509SvidValidator.verifyChain(picked.getChain(), source);
            Map<String, Object> line = describe(answer);
            line.put("default", picked.getSpiffeId().toString());
            Main.say(line);
        }
        return null;
    }

    static Void jwt(String audience) throws Exception {
        JwtSourceOptions options = JwtSourceOptions.builder().initTimeout(Duration.ofSeconds(Main.PATIENCE)).build();
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            // Asked without a source first, which would wrap the refusal.
            client.fetchJwtSvid(audience);
            try (JwtSource source = DefaultJwtSource.newSource(options)) {
                JwtSvid svid = source.fetchJwtSvid(audience);
                String token = svid.getToken();
                String foreign = audience + "-of-somebody-else";
                Main.say(Main.line("jwt",
                        "id", svid.getSpiffeId().toString(),
                        "audience", new TreeSet<>(svid.getAudience()),
                        "validatedByApi", client.validateJwtSvid(token, audience).getSpiffeId().toString(),
                        "validatedOffline", offline(token, source, audience).getSpiffeId().toString(),
                        "foreignAudienceByApi", faultOf(() -> client.validateJwtSvid(token, foreign)),
                        "foreignAudienceOffline", faultOf(() -> offline(token, source, foreign)),
                        "alteredOffline", faultOf(() -> offline(altered(token), source, audience)),
                        "token", token));
            }
        }
        return null;
    }

    static DefaultX509Source newX509Source() throws Exception {
        return DefaultX509Source.newSource(DefaultX509Source.X509SourceOptions.builder()
                .initTimeout(Duration.ofSeconds(Main.PATIENCE))
                .build());
    }

    static Map<String, Object> describe(X509Context update) throws CertificateEncodingException {
        List<Map<String, Object>> identities = new ArrayList<>();
        for (X509Svid svid : update.getX509Svids()) {
            Map<String, Object> identity = new LinkedHashMap<>();
            identity.put("id", svid.getSpiffeId().toString());
            identity.put("hint", svid.getHint());
            identity.put("serial", svid.getLeaf().getSerialNumber().toString());
            identity.put("notAfter", svid.getLeaf().getNotAfter().toInstant().toString());
            identities.add(identity);
        }
        Map<String, Object> bundles = new LinkedHashMap<>();
        for (X509Bundle bundle : update.getX509BundleSet().getBundles().values()) {
            StringBuilder authorities = new StringBuilder();
            for (X509Certificate authority : bundle.getX509Authorities()) {
                authorities.append(pemOf(authority));
            }
            bundles.put(bundle.getTrustDomain().getName(), authorities.toString());
        }
        return Main.line("x509",
                "identities", identities,
                "default", update.getDefaultSvid().getSpiffeId().toString(),
                "bundles", bundles);
    }

    static Map<String, Object> describe(JwtBundleSet update) {
        Map<String, Object> bundles = new LinkedHashMap<>();
        for (JwtBundle bundle : update.getBundles().values()) {
            bundles.put(bundle.getTrustDomain().getName(), new TreeSet<>(bundle.getJwtAuthorities().keySet()));
        }
        return Main.line("jwtBundles", "bundles", bundles);
    }

    private static JwtSvid offline(String token, JwtSource source, String audience) throws Exception {
        return JwtSvid.parseAndValidate(token, source, Set.of(audience));
    }

    /** The token with another signature, in its first character. */
    private static String altered(String token) {
        int at = token.lastIndexOf('.') + 1;
        return token.substring(0, at) + (token.charAt(at) == 'A' ? 'B' : 'A') + token.substring(at + 1);
    }

    private static String faultOf(Callable<?> ask) {
        try {
            ask.call();
            return "";
        } catch (Exception fault) {
            return Main.textOf(fault);
        }
    }

    private static String pemOf(X509Certificate certificate) throws CertificateEncodingException {
        String text = Base64.getEncoder().encodeToString(certificate.getEncoded());
        return "-----BEGIN CERTIFICATE-----\n" + text + "\n-----END CERTIFICATE-----\n";
    }
}
