import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/** Runs one suite and writes what it did as JUnit's XML. */
public final class RunSuite extends RunListener {
  private final Map<Description, String> outcomes = new LinkedHashMap<>();
  private final Map<Description, Long> started = new LinkedHashMap<>();
  private final Map<Description, Double> seconds = new LinkedHashMap<>();

  public static void main(String[] arguments) throws Exception {
    RunSuite listener = new RunSuite();
    JUnitCore core = new JUnitCore();
    core.addListener(listener);
    core.run(Class.forName(arguments[0]));
    Files.write(Path.of(arguments[1]), listener.xml(arguments[0]).getBytes(StandardCharsets.UTF_8));
    System.exit(0);  // threads of native libraries would keep the JVM alive
  }

  @Override
  public void testStarted(Description test) {
    started.put(test, System.nanoTime());
    outcomes.put(test, "");
  }

  @Override
  public void testFinished(Description test) {
    seconds.put(test, (System.nanoTime() - started.get(test)) / 1e9);
  }

  @Override
  public void testFailure(Failure failure) {
    System.out.println("FAILED " + failure.getDescription() + "\n" + failure.getTrace());
    outcomes.put(failure.getDescription(), element("failure", failure));
  }

  @Override
  public void testAssumptionFailure(Failure failure) {
    System.out.println("skipped " + failure.getDescription() + ": " + failure.getMessage());
    outcomes.put(failure.getDescription(), element("skipped", failure));
  }

  @Override
  public void testIgnored(Description test) {
    outcomes.put(test, "<skipped/>");
  }

  private String xml(String suite) {
    List<String> cases = new ArrayList<>();
    outcomes.forEach((test, outcome) -> cases.add(String.format(
        "<testcase classname=\"%s\" name=\"%s\" time=\"%.3f\">%s</testcase>",
        escaped(suite), escaped(String.valueOf(test.getMethodName())), seconds.getOrDefault(test, 0.0), outcome)));
    return "<testsuite name=\"" + escaped(suite) + "\">\n" + String.join("\n", cases) + "\n</testsuite>\n";
  }

  private static String element(String tag, Failure failure) {
    StringWriter trace = new StringWriter();
    failure.getException().printStackTrace(new PrintWriter(trace));
    return "<" + tag + " message=\"" + escaped(String.valueOf(failure.getMessage())) + "\">" + escaped(trace.toString()) + "</" + tag + ">";
  }

  /** XML has no place for most control characters, not even escaped. */
  private static String escaped(String text) {
    return text.replaceAll("[^\\t\\n\\x20-\\uFFFD]", "?").replace("&", "&amp;").replace("<", "&lt;").replace("\"", "&quot;");
  }
}
