package probe;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.logging.LogManager;

/**
 * A workload that uses java-spiffe as any Java program would. Interop tests run it under different users against the
 * socket in SPIFFE_ENDPOINT_SOCKET and read the JSON lines that it prints: the same as those of the other clients'
 * probes.
 */
public final class Main {

    private static final String USAGE =
            "usage: probe.Main x509 | jwt AUDIENCE | watch | mtls-server ADDRESS PEER_ID | mtls-client ADDRESS PEER_ID";

    /** Seconds that a command that answers once may take, connecting included. */
    static final int PATIENCE = 15;

    private static final Gson GSON = new GsonBuilder().disableHtmlEscaping().create();

    private Main() {
    }

    public static void main(String[] args) {
        LogManager.getLogManager().reset();
        int code = 0;
        try {
            run(args);
        } catch (Throwable failure) {
            Throwable fault = failure instanceof ExecutionException ? failure.getCause() : failure;
            say(line("error", "code", codeOf(fault), "message", textOf(fault)));
            code = 1;
        }
        // The library's threads would keep the process.
        System.exit(code);
    }

    private static void run(String[] args) throws Exception {
        String command = args.length == 0 ? "" : args[0];
        switch (command + "/" + args.length) {
            case "x509/1" -> once(Show::x509);
            case "jwt/2" -> once(() -> Show.jwt(args[1]));
            case "watch/1" -> Watch.watch();
            case "mtls-server/3" -> Mtls.serve(args[1], args[2]);
            case "mtls-client/3" -> once(() -> Mtls.call(args[1], args[2]));
            default -> throw new IllegalArgumentException(USAGE);
        }
    }

    private static void once(Callable<Void> work) throws Exception {
        Executors.newSingleThreadExecutor().submit(work).get(PATIENCE, TimeUnit.SECONDS);
    }

    /** A line's members, in the order given after its event: name, value, name, value. */
    static Map<String, Object> line(String event, Object... members) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("event", event);
        for (int i = 0; i < members.length; i += 2) {
            line.put((String) members[i], members[i + 1]);
        }
        return line;
    }

    /** Prints one JSON line at once. */
    static synchronized void say(Map<String, Object> line) {
        System.out.println(GSON.toJson(line));
        System.out.flush();
    }

    /** The gRPC code's name in the spelling that all probes use. */
    static String codeOf(Throwable fault) {
        for (Throwable found = fault; found != null; found = found.getCause()) {
            if (found instanceof StatusRuntimeException || found instanceof StatusException) {
                return camel(Status.fromThrowable(found).getCode().name());
            }
        }
        return "Unknown";
    }

    /** What went wrong with what was behind it. */
    static String textOf(Throwable fault) {
        StringBuilder text = new StringBuilder();
        for (Throwable found = fault; found != null; found = found.getCause()) {
            text.append(text.isEmpty() ? "" : ": ").append(found.getClass().getSimpleName()).append(' ').append(found.getMessage());
        }
        return text.toString();
    }

    private static String camel(String name) {
        StringBuilder camel = new StringBuilder();
        for (String word : name.split("_")) {
            camel.append(word.charAt(0)).append(word.substring(1).toLowerCase());
        }
        return camel.toString();
    }
}
