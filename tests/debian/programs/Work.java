import java.net.*; import java.nio.file.*; import java.util.*; import java.util.concurrent.*;
public class Work {
    static int files(int thread) throws Exception {
        int sum = 0;
        for (int i = 0; i < 200; i++) {
            Path path = Files.createTempFile("int80", "" + thread);
            Files.writeString(path, "abc"); sum += Files.readString(path).length(); Files.delete(path);
        }
        return sum;
    }
    public static void main(String[] arguments) throws Exception {
        var pool = Executors.newFixedThreadPool(8); var results = new ArrayList<Future<Integer>>();
        for (int i = 0; i < 8; i++) { int thread = i; results.add(pool.submit(() -> files(thread))); }
        int sum = 0; for (var result : results) sum += result.get();
        pool.shutdown(); System.out.println(sum);
        var server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
        var thread = new Thread(() -> { try (var c = server.accept()) { c.getInputStream().transferTo(c.getOutputStream()); } catch (Exception e) { e.printStackTrace(); } });
        thread.start();
        try (var c = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort())) {
            c.getOutputStream().write("echo".getBytes()); c.shutdownOutput(); System.out.println(new String(c.getInputStream().readAllBytes()));
        }
        thread.join();
        System.out.println(new String(new ProcessBuilder("echo", "child").start().getInputStream().readAllBytes()).trim());
        System.out.println(ProcessHandle.current().info().command().orElse("?").endsWith("/bin/java"));
        try { Object none = null; none.hashCode(); } catch (NullPointerException e) { System.out.println("caught"); }
    }
}
