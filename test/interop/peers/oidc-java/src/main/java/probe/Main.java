package probe;

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import net.minidev.json.JSONObject;

/**
 * A relying party on Nimbus: it knows an issuer's URL, an audience and a CA, and learns everything else by discovery.
 * Called with {@code ISSUER AUDIENCE CA_FILE}, it reads one token a line and answers each with a line of JSON. It keeps
 * running, so that its cache of keys is warm.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        trust(Path.of(args[2]));
        OIDCProviderMetadata metadata = OIDCProviderMetadata.resolve(new Issuer(args[0]), 15_000, 15_000);
        DefaultJWTProcessor<SecurityContext> processor = new DefaultJWTProcessor<>();
        Set<JWSAlgorithm> algorithms = new HashSet<>(metadata.getIDTokenJWSAlgs());
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(
                algorithms, JWKSourceBuilder.create(metadata.getJWKSetURI().toURL()).build()));
        DefaultJWTClaimsVerifier<SecurityContext> claims = new DefaultJWTClaimsVerifier<>(
                args[1],
                new JWTClaimsSet.Builder().issuer(metadata.getIssuer().getValue()).build(),
                Set.of("sub", "iat", "exp"));
        claims.setMaxClockSkew(0);
        processor.setJWTClaimsSetVerifier(claims);

        say(Map.of("ready", true));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            say(verify(processor, line.trim()));
        }
    }

    private static Map<String, Object> verify(DefaultJWTProcessor<SecurityContext> processor, String text) {
        try {
            SignedJWT token = SignedJWT.parse(text);
            JWTClaimsSet claims = processor.process(token, null);
            return Map.of("sub", claims.getSubject(), "alg", token.getHeader().getAlgorithm().getName());
        } catch (Exception error) {
            return Map.of("error", error.toString());
        }
    }

    /** Lets every connection of this program believe the certificates of a PEM file and no others. */
    private static void trust(Path file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var input = Files.newInputStream(file)) {
            int number = 0;
            for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(input)) {
                store.setCertificateEntry("authority-" + number++, certificate);
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        SSLContext.setDefault(context);
        HttpsURLConnection.setDefaultSSLSocketFactory(context.getSocketFactory());
    }

    private static void say(Map<String, Object> answer) {
        System.out.println(JSONObject.toJSONString(answer));
        System.out.flush();
    }
}
